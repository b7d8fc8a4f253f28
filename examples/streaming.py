"""Print a response while the provider writes it; then close a stream half-way.

Leaving the block closes the stream and its connection, so the provider stops working.

    python examples/streaming.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import sys

import trio

from callsheet import Request, Response, TroupeSettings, open_endpoint, open_troupe

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"
ENOUGH_CHARS = 60


async def main() -> None:
    request = Request.of(
        "Write an introduction to a blog post about backpressure.",
        model="gpt-5.4-nano",
        max_tokens=400,
    )
    async with (
        open_endpoint(PROVIDER) as endpoint,
        open_troupe(TroupeSettings(endpoint=endpoint)) as troupe,
    ):
        async with troupe.stream(request, timeout=60) as items:
            async for item in items:
                if isinstance(item, Response):  # the complete response comes last
                    print(f"\n-- {item.usage.output_tokens} tokens in {item.seconds:.1f} s,")
                    print(f"-- the first of them after {item.first_byte_s or 0:.1f} s")
                else:
                    print(item.text, end="", flush=True)

        print("\nThe same request, closed half-way:")
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
