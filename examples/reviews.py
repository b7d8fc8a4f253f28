"""Labels for 1,000 product reviews, at most 200 calls at a time, identical ones asked for once.

`cacheable=True` declares that one answer may serve every identical request, so reviews that are in
flight at the same time share a call.
"""

from collections import Counter
from random import Random

import trio

from callsheet import Limits, Request, Troupe, TroupeSettings, open_endpoint, open_troupe

INSTRUCTION = (
    "Classify the product review that follows. Answer with one label only: positive, negative or "
    "neutral."
)
OPENINGS = [
    "Bought this in spring.",
    "A gift for my sister.",
    "My second one.",
    "Came in two days.",
]
VERDICTS = [
    "It works perfectly and I love it.",
    "It broke after a week, terrible quality.",
    "It is okay, nothing special.",
    "Great value, would buy again.",
    "Waste of money, very disappointed.",
]


def make_reviews(count: int, random: Random) -> list[str]:
    """Some of them are exact duplicates, as real ones are."""
    fresh = [
        f"{random.choice(OPENINGS)} {random.choice(VERDICTS)} (order {number})"
        for number in range(count * 4 // 5)
    ]
    return fresh + random.choices(fresh, k=count - len(fresh))


async def label(troupe: Troupe, review: str, labels: Counter[str]) -> None:
    request = Request.of(
        review,
        system=INSTRUCTION,
        model="gpt-4o-mini",
        max_tokens=5,
        temperature=0,
        cacheable=True,
    )
    answer = await troupe.complete(request)
    labels[answer.text] += 1
    labels["(shared)"] += answer.http_requests == 0


async def main() -> None:
    labels: Counter[str] = Counter()
    async with open_endpoint() as endpoint:
        settings = TroupeSettings(endpoint=endpoint, limits=Limits(in_flight=200))
        async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:
            for review in make_reviews(1000, Random(7)):
                nursery.start_soon(label, troupe, review, labels)
    shared = labels.pop("(shared)")
    for name, count in labels.most_common():
        print(f"{name}: {count}")
    print(f"{shared} of {labels.total()} were answered by an identical request's call")


if __name__ == "__main__":
    trio.run(main)
