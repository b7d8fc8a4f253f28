"""Inside an app's own nursery, beside its other tasks, and cancelled from outside.

The app allows eight seconds. What is finished by then is kept; what is not is cancelled down to the
sockets, because the runtime lives in a nursery that the app can see.
"""

import trio

from callsheet import Troupe, TroupeSettings, open_endpoint, open_troupe


async def write(troupe: Troupe, topic: str, posts: dict[str, str]) -> None:
    posts[topic] = (await troupe.compose(topic)).markdown


async def heartbeat() -> None:
    """Something else that the app does meanwhile."""
    while True:
        print("the app is alive")
        await trio.sleep(1)


async def main() -> None:
    posts: dict[str, str] = {}
    async with open_endpoint() as endpoint, trio.open_nursery() as app:
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
