"""Run one process that sends calls up to a limit, and print the instants at which they were sent.

    python -m shared_bench.load '{"rpm": 600, "waiting": 20, "url": "unix:///tmp/s"}'

It prints "ready", reads a line with two instants of the monotonic clock, which all processes of a
machine share, and sends calls from the first to the second. Calls go through a whole troupe, whose
last stage is not HTTP but an actor that notes the instant and replies at once: each call that
reaches it would be on its way to the provider.
"""

import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from math import inf
from typing import Any

import attrs
import click
import trio

from callsheet import Endpoint, Limits, Request, TroupeSettings, insert, open_troupe
from callsheet.actors import Complete, Lane, Response, Stream, Troupe, Usage
from callsheet.actors.rate_limit.leased_bucket import LeasedBucket
from callsheet.runtime import Actor, ReplySlot, defers, handles

__all__ = ["Load", "Sent"]

_MODEL = "gpt-4o-mini"
_RESPONSE: Response = Response(
    text="hello", model=_MODEL, finish_reason="stop", usage=Usage(10, 1), cost_usd=None
)
_DRAIN_S = 0.2


@attrs.frozen
class Load:
    """What one process sends.

    Args:
        rpm: the limit of all processes together, requests a minute.
        url: the server through which it shares the limit; empty to share nothing.
        waiting: calls that wait at any time in each lane; 0 to send at `per_s` instead.
        per_s: calls a second, at random intervals.
        lanes: the lanes of the calls.
        weights: the weight of each lane, {lane: weight}; others have 1.
        seed: seed of the intervals.
    """

    rpm: float
    url: str = ""
    waiting: int = 0
    per_s: float = 0.0
    lanes: Sequence[str] = ("",)
    weights: Mapping[str, float] = attrs.field(factory=dict[str, float])
    seed: int = 0


@attrs.frozen
class Sent:
    """What one process has sent.

    Args:
        instants: when each call was sent, in seconds of the monotonic clock.
        lanes: the lane of each.
        waited: seconds from the submission of each until it was sent, if calls were paced.
        beyond: seconds from the instant that the store gave to a call until its turn; from the
            arrival of the store's answer, if that was later.
        cpu_s: CPU seconds of the process from the first instant to the last.
    """

    instants: list[float]
    lanes: list[str]
    waited: list[float]
    beyond: list[float]
    cpu_s: float


class _Provider(Actor[Complete | Stream]):
    """Stands where HTTP requests are sent."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent

    @handles(Complete)
    async def complete(self, message: Complete) -> Response:
        if message.permit is not None:
            message.permit.use()  # as `RequestActor` does when the first byte leaves
        self._sent.instants.append(time.monotonic())
        self._sent.lanes.append(message.context.lane)
        return _RESPONSE

    @defers(Stream)
    async def stream(self, message: Stream, slot: ReplySlot[None]) -> None:  # noqa: ARG002  # as declared
        raise AssertionError("nothing streams here")


async def run(load: Load) -> None:
    """Run the process, see the module.

    Args:
        load: what it sends.
    """
    sent = Sent([], [], [], [], 0.0)
    _note_instants(sent.beyond)
    lanes = {name: Lane(weight=weight) for name, weight in load.weights.items()}
    settings = TroupeSettings(
        endpoint=Endpoint("http://127.0.0.1:9/v1", "sk-benchmark"),
        limits=Limits(rpm=load.rpm, in_flight=10_000, lanes=lanes),
        stages=[insert(partial(_Provider, sent), instead_of="requester", name="provider")],
        prompt_caching="off",
        max_waiting_calls=100_000,
        shared=load.url or None,
    )
    async with open_troupe(settings, drain_s=_DRAIN_S) as troupe:
        print("ready", flush=True)
        start, end = map(float, (await trio.to_thread.run_sync(sys.stdin.readline)).split())
        await trio.sleep(start - time.monotonic())
        cpu = time.process_time()
        with trio.move_on_after(end - time.monotonic()):
            if load.waiting:
                await _saturate(troupe, load)
            else:
                await _pace(troupe, load, sent)
        found = attrs.evolve(sent, cpu_s=time.process_time() - cpu)
        print(json.dumps(attrs.asdict(found)), flush=True)


def _note_instants(beyond: list[float]) -> None:
    """Note, whenever a call is admitted by a lease, how long after its instant that is."""
    take = LeasedBucket.take

    def noting(self: LeasedBucket, amount: float, now: float) -> None:
        instant = self.ready_at(amount, -inf)
        if instant < inf:
            arrived = max(curve.since for curve in islice(self._curves, 2))  # it takes 2 at most
            beyond.append(now - max(instant, arrived))
        take(self, amount, now)

    LeasedBucket.take = noting  # type: ignore[method-assign]  # of this process only


async def _saturate(troupe: Troupe, load: Load) -> None:
    """Keep calls waiting in every lane."""
    room = trio.Event()
    missing = dict.fromkeys(load.lanes, load.waiting)

    def settled(lane: str, _: ReplySlot[Any]) -> None:
        missing[lane] += 1
        room.set()

    request = Request.of("Say hello.", model=_MODEL, max_tokens=10)
    while True:
        for lane in load.lanes:
            while missing[lane]:
                missing[lane] -= 1
                slot = await troupe.submit(request, lane=lane)
                slot.on_settled(partial(settled, lane))
        await room.wait()
        room = trio.Event()


async def _pace(troupe: Troupe, load: Load, sent: Sent) -> None:
    """Send calls at random intervals, and note how long each waits until it is sent."""
    chance = random.Random(load.seed)  # noqa: S311  # no secrets
    request = Request.of("Say hello.", model=_MODEL, max_tokens=10)
    due = time.monotonic()
    asked: list[float] = []
    while True:
        due += chance.expovariate(load.per_s)
        await trio.sleep(max(0.0, due - time.monotonic()))
        asked.append(time.monotonic())
        await troupe.submit(request)
        # Calls of one lane are sent in order, so that the number of a call tells when it was made.
        done = len(sent.waited)
        sent.waited.extend(
            at - since for at, since in zip(sent.instants[done:], asked[done:], strict=False)
        )


@click.command()
@click.argument("load")
def main(load: str) -> None:
    """Send calls as described, and print the instants as JSON."""
    trio.run(run, Load(**json.loads(load)))


if __name__ == "__main__":
    main()
