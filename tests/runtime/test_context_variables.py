"""Each handler starts with the context variables of its actor, whatever an earlier one has set."""

from contextvars import ContextVar

import attrs
import pytest
import trio

from callsheet.runtime import (
    Actor,
    AskTimedOut,
    Instrument,
    Message,
    MessageBegun,
    RestartPolicy,
    defers,
    handles,
)
from callsheet.runtime.testing import open_test_runtime

setting: ContextVar[object] = ContextVar("setting", default="default")


@attrs.frozen
class Set(Message[object]):
    """Replies the value that the handler finds, and sets another one."""

    value: object
    seconds: float = 0
    declared: bool = False


@attrs.frozen
class Defer(Message[object]):
    value: object


@attrs.frozen
class Read(Message[object]):
    pass


class Declared(Exception):
    pass


class Setter(Actor):
    async def started(self) -> None:
        setting.set("actor")

    @handles(Set, raises=(Declared,))
    async def set_it(self, message: Set) -> object:
        before = setting.get()
        setting.set(message.value)
        await trio.sleep(message.seconds)
        assert setting.get() is message.value
        if message.declared:
            raise Declared
        return before

    @defers(Defer)
    async def defer(self, message: Defer, slot) -> None:
        slot.reply(setting.get())
        setting.set(message.value)

    @handles(Read)
    async def read(self, message: Read) -> object:
        return setting.get()


class Incomparable:
    """As an array of several values, or a user's class with a fault."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("cannot be compared")

    __hash__ = None


SETTINGS = [
    {},
    {"concurrency": 3},
    {"redeliver": 1},
    {"priority": lambda _: 1.0},
]


@pytest.mark.parametrize("settings", SETTINGS, ids="".join)
@pytest.mark.parametrize("pool", [False, True])
async def test_no_handler_sees_what_another_one_has_set(autojump_clock, settings, pool):
    async with open_test_runtime() as runtime:
        if pool:
            key = settings and (lambda _: "one")
            setter = await runtime.spawn_pool("setter", Setter, size=2, key=key or None, **settings)
        else:
            setter = await runtime.spawn("setter", Setter, **settings)
        for value in ("a", Incomparable(), Incomparable(), "actor"):
            assert await setter.ask(Set(value)) == "actor"
            assert await setter.ask(Defer(value)) == "actor"
            await setter.tell(Set(value))
            await setter.tell(Defer(value))
            with pytest.raises(Declared):
                await setter.ask(Set(value, declared=True))
            with pytest.raises(AskTimedOut):
                await setter.ask(Set(value, 10), timeout=1)
            for _ in range(4):
                assert await setter.ask(Read()) == "actor"
    assert setting.get() == "default"


async def test_a_timer_that_is_always_due_does_not_starve_the_mailbox_by_setting_one(
    autojump_clock,
):
    """Timers go first, but not twice in a row while messages wait."""

    class Ticking(Setter):
        async def started(self) -> None:
            await super().started()
            self.send_every(0.1, Set("tick", 1))

    async with open_test_runtime(drain_s=1) as runtime:
        ticking = await runtime.spawn("ticking", Ticking)
        await trio.sleep(5)
        for _ in range(5):
            assert await ticking.ask(Read(), timeout=5) == "actor"


async def test_the_next_incarnation_does_not_see_what_a_handler_that_crashed_has_set(
    autojump_clock,
):
    class Fragile(Setter):
        @defers(Defer)
        async def defer(self, message: Defer, slot) -> None:
            setting.set(message.value)
            raise KeyError("bug")

        async def started(self) -> None:
            assert setting.get() == "default"

    async with open_test_runtime(restarts=RestartPolicy(base_s=0)) as runtime:
        fragile = await runtime.spawn("fragile", Fragile)
        await fragile.tell(Defer("bad"))
        await trio.sleep(1)
        assert await fragile.ask(Read()) == "default"


async def test_an_instrument_may_set_variables_for_the_handler_alone(autojump_clock):
    class Setting(Instrument):
        count = 0

        def message_begun(self, event: MessageBegun) -> None:
            if event.message == "Set":
                self.count += 1
                setting.set(self.count)

    async with open_test_runtime(instruments=[Setting()]) as runtime:
        setter = await runtime.spawn("setter", Setter)
        assert await setter.ask(Set("a")) == 1
        assert await setter.ask(Set("a")) == 2
        assert await setter.ask(Read()) == "actor"
