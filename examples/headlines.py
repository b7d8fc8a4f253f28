"""Write a headline for each of twelve topics, all at once, in the time of the slowest call.

    python examples/headlines.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import sys

import trio

from callsheet import Request, Response, Troupe, TroupeSettings, open_endpoint, open_troupe

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"
TOPICS = [
    "The Rise of Quantum Computing",
    "Sustainable Urban Planning in 2026",
    "Blockchain Beyond Cryptocurrencies",
    "Personalized Medicine: A New Era",
    "The Impact of AI on Remote Work",
    "Future of Space Exploration",
    "Cybersecurity Threats in IoT",
    "Ethical AI Development",
    "Augmented Reality in Education",
    "Next-Gen Battery Technologies",
    "The Gig Economy's Evolution",
    "Renewable Energy Innovations",
]


async def write_headline(troupe: Troupe, topic: str, answers: dict[str, Response]) -> None:
    request = Request.of(
        f'Write a headline for a blog post about "{topic}". Answer with the headline only.',
        model="gpt-5.4-nano",
        max_tokens=50,
    )
    answers[topic] = await troupe.complete(request, timeout=30)


async def main() -> None:
    answers: dict[str, Response] = {}
    async with (
        open_endpoint(PROVIDER) as endpoint,
        open_troupe(TroupeSettings(endpoint=endpoint)) as troupe,
    ):
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for topic in TOPICS:
                nursery.start_soon(write_headline, troupe, topic, answers)
        wall_s = trio.current_time() - start
    for topic in TOPICS:
        print(f"{topic}: {answers[topic].text}")
    slowest_s = max(answer.seconds for answer in answers.values())
    print(f"{len(answers)} calls in {wall_s:.2f} s; the slowest took {slowest_s:.2f} s")


if __name__ == "__main__":
    trio.run(main)
