"""R3: a circle of actors that wait for each other is found when it closes, and only then."""

from functools import partial
from itertools import pairwise

import attrs
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    AskFailed,
    Deadlock,
    Message,
    Ref,
    ReplySlot,
    StreamOf,
    StreamSink,
    Verdict,
    defers,
    handles,
    open_runtime,
    streams,
)

LIMIT_S = 1000.0  # nothing here takes as long: what does, hangs


@attrs.frozen
class Walk(Message[str]):
    """Goes along the way, each actor asking the next; the last one takes some seconds."""

    way: tuple[str, ...] = ()
    seconds: float = 0.0
    pause: float = 0.0  # before each ask


@attrs.frozen
class Careless(Walk):
    """The same without declaring `Deadlock`: it is a bug then, which crashes."""


@attrs.frozen
class Push(Message[None]):
    """Is told to the next one; there it takes some seconds."""

    to: str
    then: Message[object]


@attrs.frozen
class Nap(Message[str]):
    seconds: float = 0.0


@attrs.frozen
class Over(Message[str]):
    """Is forwarded along the way, to be a `Nap` at the end of it."""

    way: tuple[str, ...]


@attrs.frozen
class AskOver(Message[str]):
    """Asks the first of the way to forward along the rest of it."""

    way: tuple[str, ...]


@attrs.frozen
class Flow(StreamOf[str]):
    way: tuple[str, ...] = ()


@attrs.frozen
class Follow(Message[str]):
    """Reads a stream of the next one, which first asks its own next one."""

    to: str
    way: tuple[str, ...] = ()


@attrs.frozen
class AnswerThenAsk(Message[str]):
    to: str


@attrs.frozen
class AskAnswerThenAsk(Message[str]):
    to: str
    back: str


@attrs.frozen
class SideAsk(Message[str]):
    """Asks from a task of the handler's own."""

    to: str


class Neighbour(Actor):
    """Knows all others by name."""

    def __init__(self, town: dict[str, Ref]) -> None:
        self.town = town

    @handles(Walk, raises=(Deadlock,))
    async def walk(self, message: Walk) -> str:
        if not message.way:
            await trio.sleep(message.seconds)
            return "there"
        await trio.sleep(message.pause)
        head, *rest = message.way
        return await self.town[head].ask(attrs.evolve(message, way=tuple(rest)))

    @handles(Careless)
    async def walk_carelessly(self, message: Careless) -> str:
        return await self.walk(message)

    @handles(Push, raises=(Deadlock,))
    async def push(self, message: Push) -> None:
        await self.town[message.to].tell(message.then)

    @handles(Nap)
    async def nap(self, message: Nap) -> str:
        await trio.sleep(message.seconds)
        return "rested"

    @defers(Over)
    async def over(self, message: Over, slot: ReplySlot[str]) -> None:
        head, *rest = message.way
        await slot.forward(self.town[head], Over(tuple(rest)) if rest else Nap())

    @handles(AskOver, raises=(Deadlock,))
    async def ask_over(self, message: AskOver) -> str:
        head, *rest = message.way
        return await self.town[head].ask(Over(tuple(rest)))

    @streams(Flow, raises=(Deadlock,))
    async def flow(self, message: Flow, sink: StreamSink[str]) -> None:
        await sink.send("first")
        for name in message.way:
            await self.town[name].ask(Walk())
        await sink.send("last")

    @handles(Follow, raises=(Deadlock,))
    async def follow(self, message: Follow) -> str:
        async with self.town[message.to].stream(Flow(message.way)) as items:
            return " ".join([item async for item in items])

    @defers(AnswerThenAsk)
    async def answer_then_ask(self, message: AnswerThenAsk, slot: ReplySlot[str]) -> None:
        slot.reply("answered")
        await self.town[message.to].ask(Walk())

    @handles(AskAnswerThenAsk)
    async def ask_answer_then_ask(self, message: AskAnswerThenAsk) -> str:
        return await self.town[message.to].ask(AnswerThenAsk(message.back))

    @handles(SideAsk)
    async def side_ask(self, message: SideAsk) -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.town[message.to].ask, Walk())
        return "asked"


async def found(runtime, names, **place):
    town: dict[str, Ref] = {}
    for name in names:
        town[name] = await runtime.spawn(name, partial(Neighbour, town), **place)
    return town


def circle_of(names):
    return tuple(f"callsheet/{name}" for name in names)


def turned(circle):
    """A circle from its smallest path on, so that it does not matter where it was seen first."""
    ring = circle[:-1]
    at = ring.index(min(ring))
    return ring[at:] + ring[:at]


# ---------------------------------------------------------------- true ones


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcde"])
async def test_asks_in_a_circle_end_with_an_error_that_names_it(autojump_clock, names):
    async with open_runtime() as runtime:
        town = await found(runtime, names)
        with trio.fail_after(LIMIT_S), pytest.raises(Deadlock) as caught:
            await town["a"].ask(Walk((*names[1:], "a")))
        error = caught.value
        assert error.cycle[0] == error.cycle[-1]
        assert turned(error.cycle) == circle_of(names)
        assert error.verdict is Verdict.NOT_STARTED
        assert " -> ".join(error.cycle) in str(error)
        for name in names:
            assert await town[name].ask(Nap()) == "rested"
            snapshot = runtime.snapshot()[town[name].path]
            assert snapshot.incarnation == 1, "they live on"
            assert snapshot.is_conserved


async def test_who_does_not_declare_it_crashes_of_it_as_of_any_bug(autojump_clock):
    async with open_runtime() as runtime:
        town = await found(runtime, "a")
        with trio.fail_after(LIMIT_S), pytest.raises(ActorCrashed) as caught:
            await town["a"].ask(Careless(("a",)))
        assert isinstance(caught.value.__cause__, Deadlock)
        assert await town["a"].ask(Nap()) == "rested"


async def test_two_that_ask_each_other_at_once_end_as_well(autojump_clock):
    """Nobody's message leads to the other's: they meet."""
    results: dict[str, object] = {}

    async def ask(town, name, way):
        try:
            results[name] = await town[name].ask(Walk((way,), pause=1))
        except Deadlock as error:
            results[name] = error

    async with open_runtime() as runtime:
        town = await found(runtime, "ab")
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, town, "a", "b")
                nursery.start_soon(ask, town, "b", "a")
    errors = [result for result in results.values() if isinstance(result, Deadlock)]
    assert len(errors) == 1, "one of them gives way, so the other gets its answer"
    assert "there" in results.values()
    assert set(errors[0].cycle) == set(circle_of("ab"))


async def test_blocking_tells_at_full_mailboxes_close_a_circle_too(autojump_clock):
    async with open_runtime() as runtime:
        town = await found(runtime, "ab", capacity=1)
        results: list[BaseException] = []

        async def push(name, to):
            try:
                await town[name].ask(Push(to, Nap()))
            except Deadlock as error:
                results.append(error)

        with trio.fail_after(LIMIT_S):
            for ref in town.values():
                ref.tell_nowait(Nap(1))
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(push, "a", "b")
                nursery.start_soon(push, "b", "a")
                await wait_all_tasks_blocked()
                # One more sender is at each door; it gets the room when the pushes are in hand.
                nursery.start_soon(town["a"].tell, Nap())
                nursery.start_soon(town["b"].tell, Nap())
        assert len(results) == 1
        assert set(results[0].cycle) == set(circle_of("ab"))
        for ref in town.values():
            assert await ref.ask(Nap()) == "rested"


async def test_a_tell_to_ones_own_full_mailbox_is_a_circle_of_one(autojump_clock):
    async with open_runtime() as runtime:
        town = await found(runtime, "a", capacity=1)
        town["a"].tell_nowait(Nap(1))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(town["a"].tell, Nap())
            await wait_all_tasks_blocked()

            async def push():
                with trio.fail_after(LIMIT_S), pytest.raises(Deadlock) as caught:
                    await town["a"].ask(Push("a", Nap()))
                assert caught.value.cycle == circle_of("aa")

            nursery.start_soon(push)
            await wait_all_tasks_blocked()
            nursery.start_soon(town["a"].tell, Nap())


async def test_an_ask_and_a_blocking_tell_close_a_circle_together(autojump_clock):
    async with open_runtime() as runtime:
        town = await found(runtime, "ab", capacity=1)
        results: list[object] = []

        async def ask(ref, message):
            try:
                results.append(await ref.ask(message))
            except Deadlock as error:
                results.append(error)

        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, town["a"], Walk(("b",), pause=2))
                nursery.start_soon(ask, town["b"], Walk(("a",), pause=1))
                await wait_all_tasks_blocked()
                town["a"].tell_nowait(Nap())  # at 1, b waits for room here, and at 2, a asks b
        assert sum(isinstance(result, Deadlock) for result in results) == 1
        assert "there" in results


async def test_a_forward_that_comes_back_to_the_asker_closes_a_circle(autojump_clock):
    """a asks b, and b forwards back to a, which waits: nobody begins to wait at that moment."""
    async with open_runtime() as runtime:
        town = await found(runtime, "abc")
        for way in (("b", "a"), ("b", "c", "a")):
            with trio.fail_after(LIMIT_S), pytest.raises(Deadlock) as caught:
                await town["a"].ask(AskOver(way))
            assert caught.value.cycle == circle_of("aa")
        assert await town["a"].ask(AskOver(("b", "c"))) == "rested"


async def test_all_workers_of_an_actor_that_ask_it_are_a_circle(autojump_clock):
    """With two workers, the second ask closes it: nobody is left to answer."""
    results: list[object] = []

    async def ask(ref):
        try:
            results.append(await ref.ask(Walk(("a",), pause=1)))
        except Deadlock as error:
            results.append(error)

    async with open_runtime() as runtime:
        town = await found(runtime, "a", concurrency=2)
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(ask, town["a"])
    assert "there" in results
    assert sum(isinstance(result, Deadlock) for result in results) == 1


async def test_streams_wait_in_circles_like_asks(autojump_clock):
    async with open_runtime() as runtime:
        town = await found(runtime, "ab")
        with trio.fail_after(LIMIT_S):
            with pytest.raises(Deadlock) as caught:
                await town["a"].ask(Follow("a"))
            assert caught.value.cycle == circle_of("aa")
            with pytest.raises(Deadlock) as caught:
                await town["a"].ask(Follow("b", ("a",)))
            assert turned(caught.value.cycle) == circle_of("ab")
        assert await town["a"].ask(Follow("b")) == "first last"


async def test_a_long_chain_and_a_dense_crowd_are_seen_through_quickly(autojump_clock):
    """Each of those it waits for is looked at once, without recursion."""
    async with open_runtime() as runtime:
        names = [str(number) for number in range(1500)]
        town = await found(runtime, names)
        async with trio.open_nursery() as nursery:
            # From the end, so that each new wait has the whole chain before it.
            for name, after in zip(names[-2::-1], names[:0:-1], strict=True):
                nursery.start_soon(town[name].ask, Walk((after,), 50))
                if int(name) % 100 == 0:
                    await wait_all_tasks_blocked()

    async with open_runtime() as runtime:
        town = await found(runtime, "abcdef", concurrency=6, capacity=64)
        errors: list[Deadlock] = []

        async def ask(one, other):
            try:
                await town[one].ask(Walk((other,), pause=1))
            except Deadlock as error:
                errors.append(error)

        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                for one in "abcdef":
                    for other in "abcdef":
                        nursery.start_soon(ask, one, other)
        assert errors


# ---------------------------------------------------------------- no false alarms


async def test_a_second_worker_that_is_free_answers(autojump_clock):
    async with open_runtime() as runtime:
        town = await found(runtime, "ab", concurrency=2)
        with trio.fail_after(LIMIT_S):
            assert await town["a"].ask(Walk(("b", "a"))) == "there"
            assert await town["a"].ask(Walk(("a",))) == "there"


async def test_a_second_worker_that_is_busy_but_works_is_waited_for(autojump_clock):
    async with open_runtime() as runtime:
        town = await found(runtime, "a", concurrency=2)
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(town["a"].ask, Nap(50))
                await wait_all_tasks_blocked()
                assert await town["a"].ask(Walk(("a",))) == "there"


async def test_an_answer_given_meanwhile_breaks_the_circle(autojump_clock):
    """b has answered when it asks a, although a has not run yet to see that."""
    async with open_runtime() as runtime:
        town = await found(runtime, "ab")
        with trio.fail_after(LIMIT_S):
            assert await town["a"].ask(AskAnswerThenAsk("b", "a")) == "answered"
            assert await town["b"].ask(Nap()) == "rested"
        assert runtime.snapshot()[town["b"].path].incarnation == 1


async def test_a_sender_whose_message_has_just_got_its_room_is_not_in_a_circle(autojump_clock):
    """b lets the tell of a in and, in the same step, asks a, which has not run yet to see that."""
    for seed in range(8):
        async with open_runtime(seed=str(seed)) as runtime:
            town = await found(runtime, "ab", capacity=1)
            b = town["b"]
            b.tell_nowait(Nap(1))
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:

                async def ask_b(nursery=nursery, b=b):
                    assert await b.ask(Walk(("a",))) == "there"

                with trio.fail_after(LIMIT_S):
                    nursery.start_soon(ask_b)
                    await wait_all_tasks_blocked()
                    await town["a"].ask(Push("b", Nap()))


async def test_waiting_for_whoever_is_restarted_is_no_circle(autojump_clock):
    class Fragile(Neighbour):
        @handles(Nap)
        async def nap(self, message: Nap) -> str:
            raise KeyError("bug")

    async with open_runtime() as runtime:
        town = await found(runtime, "a")
        town["b"] = await runtime.spawn("b", partial(Fragile, town))
        town["b"].tell_nowait(Nap())
        with trio.fail_after(LIMIT_S):
            assert await town["a"].ask(Walk(("b",))) == "there"


async def test_an_ask_from_a_task_of_the_handlers_own_raises_no_alarm(autojump_clock):
    async with open_runtime() as runtime:
        town = await found(runtime, "ab")
        with trio.fail_after(LIMIT_S):
            assert await town["a"].ask(SideAsk("b")) == "asked"


async def test_a_slot_that_is_held_may_be_filled_by_anything(autojump_clock):
    """a asks the keeper, which holds; the keeper is free, so a third one can have it answer."""

    @attrs.frozen
    class Hold(Message[str]):
        pass

    @attrs.frozen
    class Let(Message[None]):
        pass

    class Keeper(Actor):
        def __init__(self) -> None:
            self.slots: list[ReplySlot[str]] = []

        @defers(Hold)
        async def hold(self, message: Hold, slot: ReplySlot[str]) -> None:
            self.slots.append(slot)

        @handles(Let)
        async def let(self, message: Let) -> None:
            for slot in self.slots:
                slot.reply("kept")

    class Client(Actor):
        def __init__(self, keeper: Ref) -> None:
            self.keeper = keeper

        @handles(Nap)
        async def nap(self, message: Nap) -> str:
            return await self.keeper.ask(Hold())

    async with open_runtime() as runtime:
        keeper = await runtime.spawn("keeper", Keeper, capacity=1)
        client = await runtime.spawn("client", partial(Client, keeper))
        async with trio.open_nursery() as nursery:

            async def ask():
                assert await client.ask(Nap()) == "kept"

            nursery.start_soon(ask)
            await trio.sleep(5)
            await keeper.tell(Let())


# ---------------------------------------------------------------- random ones


def someone_hangs(walks):
    """Whether sequential actors that keep to their plans would come to a stand.

    Each walk is (first, ..., last); all first actors begin at once and then ask along the way.
    Actors take messages in the order they came in. The brute force: play it step by step.
    """
    queue = {name: [] for walk in walks for name in walk}
    for number, walk in enumerate(walks):
        queue[walk[0]].append((number, 0))
    in_hand = dict.fromkeys(queue)  # {name: (walk, step)}
    answered: set[tuple[int, int]] = set()
    asked: set[tuple[int, int]] = set()
    moved = True
    while moved:
        moved = False
        for name, waiting in queue.items():
            if in_hand[name] is None and waiting:
                in_hand[name] = waiting.pop(0)
                moved = True
            hand = in_hand[name]
            if hand is None:
                continue
            number, step = hand
            following = (number, step + 1)
            if step + 1 == len(walks[number]) or following in answered:
                answered.add(hand)
                in_hand[name] = None
                moved = True
            elif following not in asked:
                asked.add(following)
                queue[walks[number][step + 1]].append(following)
                moved = True
    return any(hand is not None for hand in in_hand.values())


def run_walks(walks, *, pauses=None, **place):
    """How each walk ends, in actors that ask along it."""
    results: dict[int, object] = {}

    async def client(town, number, walk):
        pause = pauses[number] if pauses else 0.0
        try:
            results[number] = await town[walk[0]].ask(Walk(tuple(walk[1:]), pause=pause))
        except AskFailed as error:
            results[number] = error

    async def main():
        async with open_runtime(seed="0") as runtime:
            town = await found(runtime, sorted({name for walk in walks for name in walk}), **place)
            with trio.fail_after(LIMIT_S):
                async with trio.open_nursery() as nursery:
                    for number, walk in enumerate(walks):
                        nursery.start_soon(client, town, number, walk)
            for ref in town.values():
                assert await ref.ask(Nap()) == "rested"
                snapshot = runtime.snapshot()[ref.path]
                assert snapshot.incarnation == 1
                assert snapshot.is_conserved

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return results


WALKS = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(tuple), min_size=1, max_size=4
)


@settings(max_examples=150, deadline=None)
@given(walk=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=7).map(tuple))
@example(walk=("a", "b", "a"))
def test_one_walk_ends_in_a_deadlock_exactly_if_it_comes_back(walk):
    assert someone_hangs([walk]) == (len(set(walk)) < len(walk)), "the model itself"
    result = run_walks([walk])[0]
    assert isinstance(result, Deadlock) == someone_hangs([walk])


@settings(max_examples=200, deadline=None)
@given(walks=WALKS)
@example(walks=[("a", "b"), ("b", "a")])
@example(walks=[("a", "b"), ("b", "c"), ("c", "a")])
def test_walks_that_meet_never_hang_and_raise_no_alarm_without_a_reason(walks):
    """No order of steps may hang; an alarm needs a circle in who ever asks whom."""
    results = run_walks(walks)
    asks = {(one, other) for walk in walks for one, other in pairwise(walk)}
    for result in results.values():
        if isinstance(result, Deadlock):
            ring = [path.removeprefix("callsheet/") for path in result.cycle]
            assert set(pairwise(ring)) <= asks
        else:
            assert result == "there"
    if not has_circle(asks):
        assert all(result == "there" for result in results.values())


def has_circle(edges):
    reach = set(edges)
    while True:
        more = {(one, last) for one, mid in reach for first, last in edges if mid == first} - reach
        if not more:
            return any(one == other for one, other in reach)
        reach |= more


@settings(max_examples=100, deadline=None)
@given(
    walks=WALKS,
    pauses=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    capacity=st.integers(1, 2),
    concurrency=st.integers(1, 3),
)
def test_with_full_mailboxes_pauses_and_several_workers_no_ask_hangs(
    walks, pauses, capacity, concurrency
):
    results = run_walks(walks, pauses=pauses, capacity=capacity, concurrency=concurrency)
    assert set(results) == set(range(len(walks)))
    if concurrency >= sum(len(walk) for walk in walks):
        assert all(result == "there" for result in results.values())


@settings(max_examples=60, deadline=None)
@given(walks=WALKS)
def test_enough_workers_never_meet_a_deadlock(walks):
    workers = sum(len(walk) for walk in walks)
    results = run_walks(walks, concurrency=workers)
    assert all(result == "there" for result in results.values())
