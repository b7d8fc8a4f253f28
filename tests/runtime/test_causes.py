"""Trial 15: an error keeps its cause and context, and a user's group stays as it was raised."""

import pytest
import trio
from recording_actors import NO_PAUSE
from sample_actors import Add, Counter, Work

from callsheet.runtime import (
    ActorCrashed,
    handles,
    open_collapsing_nursery,
    open_runtime,
)


class UserGroup(ExceptionGroup[Exception]):
    """A group of the user's own, with a field."""

    field = "mine"


def raise_in_except() -> None:
    try:
        {}["first"]
    except KeyError:
        raise ValueError("second")  # noqa: B904  # the context is what is tested


def raise_from() -> None:
    try:
        {}["first"]
    except KeyError as error:
        raise ValueError("second") from error


def raise_from_none() -> None:
    try:
        {}["first"]
    except KeyError:
        raise ValueError("second") from None


def links(error: BaseException) -> tuple[str, str, bool]:
    """Return what a traceback shows of an error's origin."""
    return (
        type(error.__cause__).__name__,
        type(error.__context__).__name__,
        error.__suppress_context__,
    )


EXPECTED = {
    raise_in_except: ("NoneType", "KeyError", False),
    raise_from: ("KeyError", "KeyError", True),
    raise_from_none: ("NoneType", "KeyError", True),
}


class Raiser(Counter):
    """Raises in its handler as the test wants."""

    def __init__(self, how) -> None:
        super().__init__()
        self.raise_it = how

    @handles(Work)
    async def work(self, message: Work) -> str:
        if message.name == "background":
            self.nursery.start_soon(self.background)
            await trio.sleep_forever()
        self.raise_it()
        return message.name

    async def background(self) -> None:
        self.raise_it()


@pytest.mark.parametrize("how", EXPECTED)
async def test_the_error_of_a_block_keeps_its_cause_and_context(autojump_clock, how):
    with pytest.raises(ValueError, match="second") as caught:
        async with open_runtime() as runtime:
            await runtime.spawn("a", Counter)
            how()
    assert links(caught.value) == EXPECTED[how]


@pytest.mark.parametrize("how", EXPECTED)
async def test_the_error_of_a_nurserys_task_keeps_its_cause_and_context(how):
    async def task() -> None:
        how()

    with pytest.raises(ValueError, match="second") as caught:
        async with open_collapsing_nursery() as nursery:
            nursery.start_soon(task)
    assert links(caught.value) == EXPECTED[how]


@pytest.mark.parametrize("how", EXPECTED)
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("where", ["handler", "background"])
async def test_the_crash_of_an_actor_keeps_its_cause_and_context(
    autojump_clock, how, concurrency, where
):
    async with open_runtime(restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("a", lambda: Raiser(how), concurrency=concurrency)
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Work(where))
    crash = caught.value.__cause__
    assert isinstance(crash, ValueError)
    assert links(crash) == EXPECTED[how]


async def test_a_group_of_the_users_own_leaves_a_block_as_it_was_raised(autojump_clock):
    group = UserGroup("mine", [ValueError("a"), KeyError("b")])
    with pytest.raises(UserGroup) as caught:
        async with open_runtime() as runtime:
            await runtime.spawn("a", Counter)
            raise group
    assert caught.value is group


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_group_of_the_users_own_crashes_an_actor_as_it_was_raised(
    autojump_clock, concurrency
):
    group = UserGroup("mine", [ValueError("a")])

    class Grouping(Counter):
        @handles(Work)
        async def work(self, message: Work) -> str:
            raise group

    async with open_runtime(restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("a", Grouping, concurrency=concurrency)
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Work("a"))
        assert caught.value.__cause__ is group
        assert await ref.ask(Add(1)) == 1


async def test_several_errors_are_a_group_without_the_cancellations_among_them():
    async def fail(error: Exception) -> None:
        raise error

    async def wait() -> None:
        await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        async with open_collapsing_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(fail, ValueError("a"))
            nursery.start_soon(fail, KeyError("b"))
            await trio.sleep_forever()
    assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError}


async def test_a_group_with_a_cancellation_in_it_loses_only_that(autojump_clock):
    async def inner() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise_in_except()

    with pytest.raises(ExceptionGroup) as caught:
        async with open_collapsing_nursery() as nursery:
            nursery.start_soon(inner)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    (error,) = caught.value.exceptions
    assert isinstance(error, ValueError)
