"""A call that is cancelled in any stage leaves every stage in a consistent state."""

import itertools
import json
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio
from misbehaving import JSON, POLITE, chunked, head, in_memory, says, whole
from provided import asked
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    BatcherActor,
    Batching,
    BreakerPolicy,
    CallContext,
    CallFailed,
    Complete,
    Endpoint,
    GetRequestStatistics,
    HedgePolicy,
    Limits,
    RateLimiterActor,
    RequestActor,
    RetryPolicy,
    Stream,
    Target,
    Timeouts,
)
from callsheet.runtime.testing.conservation import check_conservation, open_test_runtime
from callsheet.runtime.testing.faults import _Steps

EVENTS = head("Content-Type: text/event-stream", "Transfer-Encoding: chunked")
WORDS = [
    f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': word}}]})}\n\n".encode()
    for word in ("Hel", "lo")
]
LAST = (
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
)
STREAM = says(
    EVENTS[:20],
    EVENTS[20:],
    *(chunked(part, 1000) for part in (*WORDS, LAST)),
    b"0\r\n\r\n",
    gap=0.5,
    then="keep",
)
IN_PIECES = says(whole()[:20], whole()[20:-30], whole()[-30:], gap=0.5, then="keep")
BUSY = says(whole(b"{}", status="503 Busy"), then="keep")
TOO_FAST = says(whole(b"{}", "Retry-After: 3", status="429 Too fast"), then="keep")
LATE = says(whole(JSON), gap=0.5, then="hang")


@attrs.define(eq=False)
class Counting:
    """A factory of actors that reports each checkpoint of their handlers."""

    factory: object
    tell: object

    def __call__(self):
        actor = self.factory()
        vars(actor)["handlers"] = {
            kind: attrs.evolve(handler, call=partial(self.call, handler))
            for kind, handler in actor.handlers.items()
        }
        return actor

    async def call(self, handler, actor, *args):
        return await _Steps(handler.call(actor, *args), self.tell)


@attrs.define(eq=False)
class Stages:
    """Batcher, limiter and requests before a server in memory, and a fuse."""

    streams: list
    server: object
    count: int = 0
    nth: int | None = None
    scope: trio.CancelScope | None = None
    runtime: object = None
    batcher: object = None
    requester: object = None

    def tell(self):
        self.count += 1
        if self.count == self.nth:
            self.scope.cancel()

    async def complete(self, prompt, *, cacheable=False, **more):
        message = Complete(attrs.evolve(asked(prompt), cacheable=cacheable), CallContext(prompt))
        return await self.batcher.ask(message, **more)

    async def stream(self, prompt):
        message = Stream(asked(prompt), CallContext(prompt))
        async with self.batcher.stream(message, buffer=1) as items:
            return [item async for item in items][-1]

    async def cancelled_at(self, nth, work):
        """Cancel the caller at the nth checkpoint of all handlers; False if there are fewer."""
        self.count, self.nth = 0, nth
        with trio.CancelScope() as self.scope, suppress(CallFailed):
            await work()
        await wait_all_tasks_blocked()
        reached, self.nth = self.count >= nth, None
        return reached

    async def check(self):
        """Check that no stage has any trace of the call."""
        snapshot = self.runtime.snapshot()
        check_conservation(snapshot)
        for actor in snapshot.actors:
            assert (actor.incarnation, actor.deferred, actor.pending) == (1, 0, 0), actor
            assert actor.in_progress == ()
        now = await self.requester.ask(GetRequestStatistics())
        ((_, pool),) = now.connections[:1]
        assert (pool.open - pool.idle, pool.waiting) == (0, 0)
        assert sum(not stream.is_closed for stream in self.streams) == pool.open
        assert [breaker.under_way for _, breaker in now.breakers] == [0] * len(now.breakers)

    async def check_and_go_on(self):
        """Check that the next call succeeds: the one place in flight is free."""
        await self.check()
        self.server.lines[:] = [POLITE]
        assert (await self.complete("next", timeout=1000)).text == "Hello"
        await self.check()


@asynccontextmanager
async def stages(*lines, connections=1, limits=None, **settings):
    settings.setdefault("retry", RetryPolicy(max_attempts=3, base_s=0.5))
    settings.setdefault("breaker", BreakerPolicy())
    async with in_memory(*lines, connections=connections) as (transport, server, streams):
        made = Stages(streams, server)

        async def spawn(name, factory, **more):
            return await made.runtime.spawn(name, Counting(factory, made.tell), **more)

        async with open_test_runtime() as made.runtime:
            endpoint = Endpoint("http://server/v1")
            made.requester = await spawn(
                "requester",
                partial(RequestActor, endpoint, transport=transport, **settings),
                capacity=4,
                concurrency=4,
            )
            limiter = await spawn(
                "limiter",
                partial(RateLimiterActor, made.requester, limits or Limits(in_flight=1)),
                max_deferred=10,
            )
            made.batcher = await spawn(
                "batcher",
                partial(BatcherActor, limiter, Batching(max_wait_s=0.1)),
            )
            yield made


@pytest.fixture(params=[3, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def everywhere(request):
    """Run a scenario for each n, or each third, until there are fewer than n checkpoints."""
    every = request.param

    async def run(scenario, least=3):
        for nth in itertools.count(1, every):
            if not await scenario(nth):
                break
        last = nth - 1
        while last > nth - every and not await scenario(last):
            last -= 1
        assert last >= least  # or the scenario has too few checkpoints

    return run


LINES = {
    "a stream": [STREAM],
    "in one piece": [IN_PIECES],
    "busy, and then": [BUSY, STREAM],
    "too fast, and then": [TOO_FAST, IN_PIECES],
    "cut, and then": [says(EVENTS, chunked(WORDS[0]), gap=0.5), BUSY, STREAM],
    "refused for good": [says(whole(b"{}", status="400 Bad"), then="keep")],
    "failing for good": [BUSY],
}


@pytest.mark.parametrize("lines", LINES.values(), ids=LINES)
async def test_a_call(autojump_clock, everywhere, lines):
    async def scenario(nth):
        async with stages(*lines) as at:
            reached = await at.cancelled_at(nth, partial(at.complete, "first"))
            await at.check_and_go_on()
            return reached

    await everywhere(scenario)


async def test_a_call_over_a_kept_connection(autojump_clock, everywhere):
    async def scenario(nth):
        async with stages(POLITE, STREAM) as at:
            await at.complete("before")
            reached = await at.cancelled_at(nth, partial(at.complete, "first"))
            await at.check_and_go_on()
            return reached

    await everywhere(scenario)


@pytest.mark.parametrize("lines", [[STREAM], [BUSY, STREAM], [IN_PIECES]])
async def test_a_call_whose_answer_is_seen_being_written(autojump_clock, everywhere, lines):
    async def scenario(nth):
        async with stages(*lines) as at:
            reached = await at.cancelled_at(nth, partial(at.stream, "first"))
            await at.check_and_go_on()
            return reached

    await everywhere(scenario)


async def test_a_call_with_a_copy(autojump_clock, everywhere):
    policy = HedgePolicy(min_calls=1, max_share=1)

    async def scenario(nth):
        lines = [POLITE, LATE, STREAM]
        async with stages(*lines, connections=2, hedging=policy) as at:
            await at.complete("before")
            at.server.lines[:] = [says(then="hang"), STREAM]
            reached = await at.cancelled_at(nth, partial(at.complete, "first"))
            await at.check_and_go_on()
            return reached

    await everywhere(scenario)


async def test_a_call_that_is_the_probe_of_a_breaker(autojump_clock, everywhere):
    policy = BreakerPolicy(consecutive=1, pause_s=5)

    async def scenario(nth):
        async with stages(BUSY, BUSY, STREAM, breaker=policy) as at:
            reached = await at.cancelled_at(nth, partial(at.complete, "first"))
            await at.check_and_go_on()
            return reached

    await everywhere(scenario)


async def test_a_call_on_its_way_to_another_target(autojump_clock, everywhere):
    second = Target(Endpoint("http://second/v1"))

    async def scenario(nth):
        lines = [says(whole(b"{}", status="401 Who?"), then="keep"), STREAM]
        async with stages(*lines, fallbacks=[second]) as at:
            reached = await at.cancelled_at(nth, partial(at.complete, "first"))
            await at.check_and_go_on()
            return reached

    await everywhere(scenario)


async def test_one_of_two_callers_of_a_shared_call(autojump_clock, everywhere):
    """Either caller can be cancelled; the other one gets the response."""

    async def scenario(leaver, nth):
        answers = []

        async def stays(at):
            answers.append(await at.complete("shared", cacheable=True))

        async with stages(BUSY, STREAM) as at, trio.open_nursery() as nursery:
            if leaver:
                nursery.start_soon(stays, at)
                await wait_all_tasks_blocked()
                await trio.sleep(1)

            async def leaves():
                if not leaver:
                    nursery.start_soon(stays, at)
                await at.complete("shared", cacheable=True)

            reached = await at.cancelled_at(nth, leaves)
            await trio.sleep(100)
            assert [answer.text for answer in answers] == ["Hello"]
            await at.check_and_go_on()
            return reached

    await everywhere(partial(scenario, 0))
    await everywhere(partial(scenario, 1))


async def test_a_call_that_waits_behind_another_one(autojump_clock, everywhere):
    """The calls compete for one place in flight, which its holder keeps."""

    async def scenario(nth):
        answers = []

        async def first(at):
            answers.append(await at.complete("first"))

        async with stages(STREAM) as at, trio.open_nursery() as nursery:
            nursery.start_soon(first, at)
            await wait_all_tasks_blocked()
            reached = await at.cancelled_at(nth, partial(at.complete, "behind"))
            await trio.sleep(100)
            assert [answer.text for answer in answers] == ["Hello"]
            await at.check_and_go_on()
            return reached

    await everywhere(scenario)


async def test_a_call_that_waits_for_a_connection(autojump_clock, everywhere):
    async def scenario(nth):
        answers = []

        async def first(at):
            answers.append(await at.complete("first"))

        async with (
            stages(STREAM, limits=Limits(in_flight=3)) as at,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(first, at)
            await wait_all_tasks_blocked()
            reached = await at.cancelled_at(nth, partial(at.complete, "behind"))
            await trio.sleep(100)
            assert [answer.text for answer in answers] == ["Hello"]
            await at.check_and_go_on()
            return reached

    await everywhere(scenario)


async def test_many_calls_with_random_deadlines(autojump_clock):
    lines = [STREAM, BUSY, IN_PIECES, TOO_FAST, says(EVENTS, gap=0.5), says(then="hang")] * 20
    settings = {
        "connections": 3,
        "limits": Limits(in_flight=4),
        "timeouts": Timeouts(first_byte_s=4),
        "hedging": HedgePolicy(min_calls=3, max_share=0.5),
    }
    done = []

    async def one(at, number):
        with trio.move_on_after(number * 0.73 % 31):
            with suppress(CallFailed):
                await (at.stream if number % 3 else at.complete)(str(number))
            done.append(number)

    async with stages(*lines, POLITE, **settings) as at:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(one, at, number)
        await wait_all_tasks_blocked()
        assert 5 < len(done) < 95
        await at.check_and_go_on()
