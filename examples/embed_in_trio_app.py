"""Run a troupe inside a Trio app's own nursery, and cancel it from outside.

The app allows eight seconds. It keeps the posts that are finished by then. The others are cancelled
down to their sockets, because the runtime runs in a nursery of the app.

    python examples/embed_in_trio_app.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import sys

import trio

from callsheet import Troupe, TroupeSettings, open_endpoint, open_troupe

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"


async def write(troupe: Troupe, topic: str, posts: dict[str, str]) -> None:
    posts[topic] = (await troupe.compose(topic)).markdown


async def heartbeat() -> None:
    """Stand for everything else that the app does."""
    while True:
        print("the app is alive")
        await trio.sleep(1)


async def main() -> None:
    posts: dict[str, str] = {}
    async with open_endpoint(PROVIDER) as endpoint, trio.open_nursery() as app:
        app.start_soon(heartbeat)
        with trio.move_on_after(8) as allowance:
            async with (
                open_troupe(TroupeSettings(endpoint=endpoint)) as troupe,
                trio.open_nursery() as writers,
            ):
                for topic in ("Why cancellation matters", "Actors in Python"):
                    writers.start_soon(write, troupe, topic, posts)
        if allowance.cancelled_caught:
            print(f"time is up; finished: {', '.join(posts) or 'nothing'}; the rest is cancelled")
        app.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
