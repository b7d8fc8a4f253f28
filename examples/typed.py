"""Read product reviews as values of a class, and count the complaints.

The class is the schema that the provider gets; `response.parsed` is a value of it, also to a type
checker. A response that does not match is asked for once more, with the reason.

    python examples/typed.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import sys
from collections import Counter
from typing import Annotated, Literal

import attrs
import msgspec
import trio

from callsheet import (
    Request,
    Response,
    ResultNotValid,
    Troupe,
    TroupeSettings,
    open_endpoint,
    open_troupe,
)

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"
REVIEWS = [
    "The kettle boils in two minutes, and the handle stays cool. Five stars.",
    "It leaked on the second day, and nobody answers the phone.",
    "Fine for the price. The lid is a bit loose.",
    "Arrived with a dent, but works well.",
]


@attrs.frozen
class Complaint:
    """Something that a customer is dissatisfied with."""

    about: Literal["product", "delivery", "service"]
    quote: Annotated[str, msgspec.Meta(description="the customer's own words")]


@attrs.frozen
class Review:
    """What a customer thinks of a product."""

    sentiment: Literal["positive", "negative", "mixed"]
    complaints: list[Complaint]
    stars: int | None = attrs.field(  # only if the customer names them
        default=None, validator=attrs.validators.optional(attrs.validators.le(5))
    )


async def read(troupe: Troupe, text: str) -> Response[Review] | None:
    request = Request.of(
        text,
        system="Describe what the customer thinks.",
        model="gpt-5.4-nano",
        max_tokens=300,
        returns=Review,
    )
    try:
        return await troupe.complete(request, timeout=60)
    except ResultNotValid as error:
        print(f"-- {error} (cost: {error.response.cost_usd} USD)")
        return None


async def main() -> None:
    complaints = Counter[str]()
    async with (
        open_endpoint(PROVIDER) as endpoint,
        open_troupe(TroupeSettings(endpoint=endpoint)) as troupe,
    ):
        for text in REVIEWS:
            response = await read(troupe, text)
            if response is not None:
                review = response.parsed
                complaints.update(complaint.about for complaint in review.complaints)
                print(f"{review.sentiment:8} {len(review.complaints)} complaints: {text}")
    print(", ".join(f"{about}: {count}" for about, count in sorted(complaints.items())))


if __name__ == "__main__":
    trio.run(main)
