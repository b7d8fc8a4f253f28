"""Faults on purpose: an actor that crashes at a chosen message, or at a chosen checkpoint."""

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, final

import attrs
import trio
from attrs.validators import ge, optional

from .._core import Actor, Handler

__all__ = ["Faulty", "InjectedFault"]


class InjectedFault(Exception):
    """The bug that a `Faulty` actor has, unless told otherwise."""


@final
@attrs.define
class Faulty:
    """A factory whose actors crash where they are told to; `spawn` takes it as it is.

        await runtime.spawn("worker", Faulty(Worker, crash_on_message=3))

    Counting from 1 upwards until `crashes` stays 0 tries every place there is.

    Args:
        factory: makes the actors.
        crash_on_message: crash instead of handling the nth message of an incarnation, from 1.
        crash_at_checkpoint: crash at the nth checkpoint of an incarnation's handlers, from 1, all
            of them counted together. The handler is cut off there as by a cancellation, which
            leaves whatever it waits for in order, and then crashes; in a shielded scope, or if it
            takes no notice, it crashes as soon as it comes out.
        error: makes what it crashes with. One that the handler declares is an answer instead (R8).
        each_incarnation: crash again after each restart, rather than once.

    Attributes:
        crashes: how often it has crashed on purpose.

    Raises:
        ValueError: not exactly one place is given, or it is below 1.
    """

    factory: Callable[[], Actor]
    crash_on_message: int | None = attrs.field(
        default=None, kw_only=True, validator=optional(ge(1))
    )
    crash_at_checkpoint: int | None = attrs.field(
        default=None, kw_only=True, validator=optional(ge(1))
    )
    error: Callable[[], Exception] = attrs.field(default=InjectedFault, kw_only=True)
    each_incarnation: bool = attrs.field(default=False, kw_only=True)
    crashes: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        if (self.crash_on_message is None) == (self.crash_at_checkpoint is None):
            raise ValueError("give one of crash_on_message and crash_at_checkpoint")

    def __call__(self) -> Actor:
        """One incarnation, with the fault in it."""
        actor = self.factory()
        fuse = _Fuse(self)
        # In its own dictionary: the class, which others share, stays as it is.
        vars(actor)["handlers"] = {
            kind: attrs.evolve(handler, call=partial(fuse.call, handler))
            for kind, handler in actor.handlers.items()
        }
        return actor


@attrs.define
class _Fuse:
    """What counts in one incarnation."""

    faulty: Faulty
    messages: int = 0
    checkpoints: int = 0

    async def call(self, handler: Handler, actor: Actor, *args: object) -> object:
        """Run a handler, or as much of it as is to be."""
        self.messages += 1
        if self._is_due(self.messages, self.faulty.crash_on_message):
            self._crash()
        answer: object = None
        with trio.CancelScope() as scope:
            answer = await _Steps(handler.call(actor, *args), partial(self._checkpoint, scope))
        if scope.cancel_called:
            raise self.faulty.error()
        return answer

    def _checkpoint(self, scope: trio.CancelScope) -> None:
        self.checkpoints += 1
        if self._is_due(self.checkpoints, self.faulty.crash_at_checkpoint):
            self.faulty.crashes += 1
            scope.cancel()

    def _is_due(self, count: int, place: int | None) -> bool:
        return count == place and (self.faulty.each_incarnation or not self.faulty.crashes)

    def _crash(self) -> None:
        self.faulty.crashes += 1
        raise self.faulty.error()


@attrs.define
class _Steps(Awaitable[object]):
    """An awaitable that tells of each time it is about to give control to Trio."""

    work: Awaitable[object]
    tell: Callable[[], None]

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self.work.__await__()
        go_on: Callable[[], object] = partial(next, steps)
        while True:
            try:
                trap = go_on()
            except StopIteration as stop:
                return stop.value
            self.tell()
            try:
                go_on = partial(steps.send, (yield trap))
            except BaseException as error:  # noqa: BLE001  # it goes where it was meant to go
                go_on = partial(steps.throw, error)
