"""An actor for the tests of stops, and what a report says of it."""

import attrs
import trio

from callsheet.runtime import Actor, Message, handles


@attrs.frozen
class X(Message[object]):
    n: float = 0


class Echo(Actor):
    @handles(X)
    async def h(self, m: X) -> object:
        if m.n < 0:
            raise ValueError("boom")
        await trio.sleep(m.n)
        return m.n


def lost(report) -> dict[str, tuple[int, int]]:
    return {stop.path: (stop.drained, stop.lost) for stop in report.stops}
