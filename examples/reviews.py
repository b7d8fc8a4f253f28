"""Label 1,000 product reviews, for a fifth of the cost of a call each.

`cacheable=True` lets identical reviews share a response. `packable=True` lets one call have many
reviews. A `deadline=` would let them go through the provider's Batch API, at half the price.

    python examples/reviews.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import sys
from collections import Counter
from decimal import Decimal
from random import Random

import trio

from callsheet import Request, Response, Troupe, TroupeSettings, open_endpoint, open_troupe

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"
INSTRUCTION = """\
You classify product reviews for the team of a shop that wants to see at a glance what customers
think. Judge what is written about the product itself; late parcels and torn wrapping do not count,
and irony counts as what it means. Choose positive when the customer is satisfied on the whole,
negative when the customer is dissatisfied on the whole or warns others, and neutral when no opinion
can be made out. Answer with one label only, in lower case: positive, negative or neutral."""
OPENINGS = ["Bought this in spring.", "A gift for my sister.", "My second one.", "It came quickly."]
VERDICTS = [
    "It works perfectly and I love it.",
    "It broke after a week, terrible quality.",
    "It is okay, nothing special.",
    "Great value, would buy again.",
    "Waste of money, very disappointed.",
]


def make_reviews(count: int, random: Random) -> list[str]:
    """Make reviews, a fifth of them exact duplicates."""
    fresh = [
        f"{random.choice(OPENINGS)} {random.choice(VERDICTS)} (order {number})"
        for number in range(count * 4 // 5)
    ]
    return fresh + random.choices(fresh, k=count - len(fresh))


def question(review: str) -> Request:
    return Request.of(
        review,
        system=INSTRUCTION,
        model="gpt-5.4-mini",
        max_tokens=5,
        temperature=0,
        cacheable=True,
        packable=True,
    )


async def label_all(troupe: Troupe, reviews: list[str]) -> list[Response]:
    answers: list[Response] = []

    async def label(review: str) -> None:
        answers.append(await troupe.complete(question(review)))

    async with trio.open_nursery() as nursery:
        for review in reviews:
            nursery.start_soon(label, review)
    return answers


async def main() -> None:
    async with (
        open_endpoint(PROVIDER) as endpoint,
        open_troupe(TroupeSettings(endpoint=endpoint)) as troupe,
    ):
        answers = await label_all(troupe, make_reviews(1000, Random(7)))
        alone = await troupe.explain(question("It works."))
    for name, count in Counter(answer.text for answer in answers).most_common():
        print(f"{name}: {count}")
    cost = sum((answer.cost_usd or Decimal(0) for answer in answers), Decimal(0))
    print(f"{sum(answer.http_requests for answer in answers)} HTTP requests, ${cost:.4f}")
    print(f"a call each would be about ${1000 * (alone.cost_usd or Decimal(0)):.4f}")


if __name__ == "__main__":
    trio.run(main)
