"""R3, R16: hooks, stops and starts that wait for each other in a cycle end with an error."""

from functools import partial

import attrs
import pytest
import trio
from waiting_actors import Sleep

from callsheet.runtime import Actor, AskTimedOut, Deadlock, Message, handles, open_runtime

LIMIT_S = 100.0


@attrs.frozen
class Do(Message[object]):
    """Makes the actor call a function."""

    call: object = None


class Doer(Actor):
    def __init__(self, started=None, draining=None, stopped=None):
        self.hooks = (started, draining, stopped)
        self.error = None

    async def _hook(self, number):
        if self.hooks[number] is not None:
            await self.hooks[number](self)

    async def started(self):
        await self._hook(0)

    async def draining(self):
        await self._hook(1)

    async def stopped(self):
        await self._hook(2)

    @handles(Do, raises=(Deadlock, AskTimedOut))
    async def do(self, message):
        return None if message.call is None else await message.call(self)

    @handles(Sleep)
    async def sleep(self, message):
        await trio.sleep(message.seconds)
        return "slept"


def caught_by(errors, call):
    async def run(actor):
        try:
            await call(actor)
        except Deadlock as error:
            errors.append(error)

    return run


async def test_a_handler_that_stops_its_own_actor(autojump_clock):
    async with open_runtime() as runtime:
        a = await runtime.spawn("a", Doer)
        for call in (
            lambda actor: runtime.stop(actor.ref),
            lambda _: runtime.root.stop_child("a"),
        ):
            with trio.fail_after(LIMIT_S), pytest.raises(Deadlock) as caught:
                await a.ask(Do(call))
            assert caught.value.cycle == ("callsheet/a", "callsheet/a")
        assert await a.ask(Sleep()) == "slept", "and it was not stopped"


async def test_a_handler_that_stops_a_supervisor_above_it(autojump_clock):
    async with open_runtime() as runtime:
        group = await runtime.supervise("group")
        a = await group.spawn("a", Doer)
        with trio.fail_after(LIMIT_S), pytest.raises(Deadlock):
            await a.ask(Do(lambda _: runtime.root.stop_child("group")))


async def test_a_task_that_a_handler_waits_for_and_that_stops_its_actor(autojump_clock):
    errors = []

    async def stop_in_a_task(actor):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caught_by(errors, lambda one: runtime.stop(one.ref)), actor)

    async with open_runtime() as runtime:
        a = await runtime.spawn("a", Doer)
        with trio.fail_after(LIMIT_S):
            await a.ask(Do(stop_in_a_task))
    assert len(errors) == 1


async def test_two_handlers_that_stop_each_other(autojump_clock):
    errors = []

    async def stop(other, actor):
        await trio.sleep(1)
        await runtime.root.stop_child(other)

    with trio.fail_after(LIMIT_S):
        async with open_runtime() as runtime:
            a = await runtime.spawn("a", Doer)
            b = await runtime.spawn("b", Doer)
            a.tell_nowait(Do(caught_by(errors, partial(stop, "b"))))
            b.tell_nowait(Do(caught_by(errors, partial(stop, "a"))))
            await trio.sleep(2)
    assert [set(error.cycle) for error in errors] == [{"callsheet/a", "callsheet/b"}]


async def test_a_stop_of_an_actor_that_asks_the_stopping_one(autojump_clock):
    async with open_runtime() as runtime:
        a = await runtime.spawn("a", Doer)
        b = await runtime.spawn("b", Doer)
        b.tell_nowait(Do(lambda _: a.ask(Sleep())))

        async def stop_b(actor):
            await trio.sleep(1)
            await runtime.stop(b)

        with trio.fail_after(LIMIT_S), pytest.raises(Deadlock):
            await a.ask(Do(stop_b))


async def test_a_start_that_asks_itself(autojump_clock):
    async with open_runtime() as runtime:
        with trio.fail_after(LIMIT_S), pytest.raises(Deadlock):
            await runtime.spawn("a", partial(Doer, lambda actor: actor.ref.ask(Sleep())))


async def test_a_start_that_asks_the_actor_which_spawns_it(autojump_clock):
    async with open_runtime() as runtime:
        a = await runtime.spawn("a", Doer)

        async def spawn(actor):
            await runtime.spawn("child", partial(Doer, lambda _: actor.ref.ask(Sleep())))

        with trio.fail_after(LIMIT_S), pytest.raises(Deadlock) as caught:
            await a.ask(Do(spawn))
        assert set(caught.value.cycle) == {"callsheet/a", "callsheet/child"}


@pytest.mark.parametrize("hook", ["draining", "stopped"])
async def test_a_hook_that_stops_its_own_actor(autojump_clock, hook):
    errors = []
    with trio.fail_after(LIMIT_S):
        async with open_runtime() as runtime:
            call = caught_by(errors, lambda actor: runtime.stop(actor.ref))
            await runtime.spawn("a", partial(Doer, **{hook: call}))
        assert trio.current_time() < 1
    assert len(errors) == 1


async def test_a_stopped_hook_that_asks_an_actor_which_waits_for_its_end(autojump_clock):
    errors = []
    with trio.fail_after(LIMIT_S):
        async with open_runtime() as runtime:
            b = await runtime.spawn("b", Doer)
            a = await runtime.spawn(
                "a", partial(Doer, stopped=caught_by(errors, lambda _: b.ask(Sleep())))
            )
            start = trio.current_time()
            await b.ask(Do(lambda _: runtime.stop(a)))
            assert trio.current_time() == start, "not after the limit of the hook"
    assert len(errors) == 1


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("kind", ["actor", "pool"])
async def test_a_restart_that_asks_a_sibling_which_restarts_after_it(
    autojump_clock, strategy, kind
):
    errors, refs = [], {}

    async def ask_b(actor):
        if "b" in refs:
            await refs["b"].ask(Sleep())

    async def crash(actor):
        raise KeyError("bug")

    async with open_runtime(strategy=strategy) as runtime:
        a = await runtime.spawn("a", partial(Doer, caught_by(errors, ask_b)))
        if kind == "pool":
            refs["b"] = await runtime.spawn_pool("b", Doer, size=2)
        else:
            refs["b"] = await runtime.spawn("b", Doer)
        a.tell_nowait(Do(crash))
        with trio.fail_after(LIMIT_S):
            assert await refs["b"].ask(Sleep()) == "slept"
            assert await a.ask(Sleep()) == "slept"
    assert [error.cycle for error in errors] == [("callsheet/a", "callsheet/a")]


async def test_a_wait_for_room_behind_others_who_get_what_an_expiry_frees(autojump_clock):
    """The message that expires makes room for the first in the line, and for no other one."""
    async with open_runtime() as runtime:
        a = await runtime.spawn("a", Doer, capacity=1)

        async def ask_itself(actor):
            await trio.sleep(1)
            await actor.ref.ask(Sleep())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_deadlock, a, Do(ask_itself))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(partial(a.ask, Sleep(), timeout=3))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(a.tell, Sleep())  # first in the line
            with trio.fail_after(LIMIT_S):
                await trio.sleep(2)
                assert await a.ask(Sleep()) == "slept"


async def expect_deadlock(ref, message):
    with pytest.raises(Deadlock):
        await ref.ask(message)


# ---------------------------------------------------------------- no false alarms


async def test_a_circle_in_which_an_ask_has_a_timeout_ends_by_itself(autojump_clock):
    async with open_runtime() as runtime:
        a = await runtime.spawn("a", Doer)
        with pytest.raises(AskTimedOut) as caught:
            await a.ask(Do(lambda actor: actor.ref.ask(Sleep(), timeout=2)))
        assert trio.current_time() >= 2
        assert "callsheet/a -> callsheet/a" in str(caught.value.__notes__)
        assert await a.ask(Sleep()) == "slept"


async def test_a_circle_in_which_a_scope_has_a_deadline_ends_by_itself(autojump_clock):
    async with open_runtime() as runtime:
        a = await runtime.spawn("a", Doer)

        async def ask(actor):
            with trio.move_on_after(2):
                await actor.ref.ask(Sleep())

        await a.ask(Do(ask))


async def test_a_full_mailbox_whose_message_expires_is_no_deadlock(autojump_clock):
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        a = await runtime.spawn("a", Doer, capacity=1)

        async def tell_itself(actor):
            await trio.sleep(1)
            await actor.ref.tell(Sleep())

        async def ask():
            with pytest.raises(AskTimedOut):
                await a.ask(Sleep(), timeout=2)

        nursery.start_soon(a.ask, Do(tell_itself))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask)


async def test_a_stop_with_a_limit_ends_by_itself_and_its_log_names_the_cycle(autojump_clock, log):
    async with open_runtime() as runtime:
        a = await runtime.spawn("a", Doer)
        b = await runtime.spawn("b", Doer, stop_s=2)
        b.tell_nowait(Do(lambda _: a.ask(Sleep())))

        async def stop_b(actor):
            await trio.sleep(1)
            await runtime.stop(b)

        await a.ask(Do(stop_b))
    found = [event for event in log if event["event"] == "stop_deadlocked"]
    assert [(event["actor"], event["cycle"]) for event in found] == [
        ("callsheet/b", "callsheet/b -> callsheet/a -> callsheet/b")
    ]
