"""An answer as it is being written, and one that is given up half-way.

Leaving the block closes the stream: the provider sees that nobody reads on, and stops working.

Run it as it is against the built-in provider, or set OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import trio

from callsheet import Request, Response, TroupeSettings, open_endpoint, open_troupe

ENOUGH_CHARS = 60


async def main() -> None:
    request = Request.of(
        "Write an introduction to a blog post about backpressure.",
        model="gpt-5-nano",
        max_tokens=400,
    )
    async with (
        open_endpoint() as endpoint,
        open_troupe(TroupeSettings(endpoint=endpoint)) as troupe,
    ):
        async with troupe.stream(request, timeout=60) as items:
            async for item in items:
                if isinstance(item, Response):  # the whole comes last
                    print(f"\n-- {item.usage.output_tokens} tokens in {item.seconds:.1f} s,")
                    print(f"-- the first of them after {item.first_byte_s or 0:.1f} s")
                else:
                    print(item.text, end="", flush=True)

        print("\nOnce more, but the beginning will do:")
        chars = 0
        async with troupe.stream(request, timeout=60) as items:
            async for item in items:
                print(item.text, end="", flush=True)
                chars += len(item.text)
                if chars >= ENOUGH_CHARS:
                    break
        print(" ...")


if __name__ == "__main__":
    trio.run(main)
