"""A blog post (11 calls) in the time of its critical path.

    python examples/blog_post.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import sys

import trio

from callsheet import TroupeSettings, open_endpoint, open_troupe

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"


async def main() -> None:
    async with (
        open_endpoint(PROVIDER) as endpoint,
        open_troupe(TroupeSettings(endpoint=endpoint)) as troupe,
    ):
        post = await troupe.compose("Why backpressure matters", timeout=60)
    print(post.markdown)
    stats = post.stats
    print(f"{stats.calls} calls in {stats.wall_s:.1f} s; one by one: {stats.sequential_s:.1f} s;")
    print(f"critical path: {', '.join(stats.critical_path)}, {stats.critical_path_s:.1f} s")


if __name__ == "__main__":
    trio.run(main)
