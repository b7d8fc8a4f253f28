"""Inject faults: an actor that crashes at a chosen message or a chosen checkpoint."""

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, Never, cast, final

import attrs
import trio
from attrs.validators import optional

from .._core import Actor, Handler, is_count


class InjectedFault(Exception):
    """The exception of a `Faulty` actor, unless another one is set."""


@final
@attrs.define
class Faulty:
    """A factory of actors that crash at a chosen place; pass it to `spawn` as the factory.

        await runtime.spawn("worker", Faulty(Worker, crash_on_message=3))

    A loop that counts the place up from 1 until `crashes` stays 0 tries every place there is.

    Args:
        factory: makes the actors.
        crash_on_message: crash at the nth message of an incarnation, from 1, instead of handling
            it.
        crash_at_checkpoint: crash at the nth checkpoint of an incarnation's handlers, from 1,
            counted over all handlers together. The handler is cancelled there, which cleans up what
            it waits for, and then crashes. In a shielded scope, or if it ignores the cancellation,
            it crashes as soon as it returns.
        error: makes the exception. An error that the handler declares is a reply instead (R8).
        each_incarnation: crash again after each restart, rather than only once.

    Attributes:
        crashes: number of injected crashes so far.

    Raises:
        ValueError: not exactly one place is given, or it is below 1.
    """

    factory: Callable[[], Actor[Never]]
    crash_on_message: int | None = attrs.field(
        default=None, kw_only=True, validator=optional(is_count(1))
    )
    crash_at_checkpoint: int | None = attrs.field(
        default=None, kw_only=True, validator=optional(is_count(1))
    )
    error: Callable[[], Exception] = attrs.field(default=InjectedFault, kw_only=True)
    each_incarnation: bool = attrs.field(default=False, kw_only=True)
    crashes: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        if (self.crash_on_message is None) == (self.crash_at_checkpoint is None):
            raise ValueError(
                "exactly one of crash_on_message and crash_at_checkpoint must be given"
            )

    def __call__(self) -> Actor:
        """Make one incarnation with the fault in it."""
        actor = self.factory()
        counter = _FaultCounter(self)
        # In the object's own dictionary: the class may be shared with other actors.
        vars(actor)["handlers"] = {
            kind: attrs.evolve(handler, call=partial(counter.call, handler))
            for kind, handler in actor.handlers.items()
        }
        return cast("Actor", actor)  # whatever the factory's actors take


@attrs.define
class _FaultCounter:
    """Counts the messages and checkpoints of one incarnation."""

    faulty: Faulty
    messages: int = 0
    checkpoints: int = 0

    async def call(self, handler: Handler, actor: Actor[Never], *args: object) -> object:
        """Run a handler until the fault is due."""
        self.messages += 1
        if self._is_due(self.messages, self.faulty.crash_on_message):
            self._crash()
        reply: object = None
        with trio.CancelScope() as scope:
            reply = await _Steps(handler.call(actor, *args), partial(self._checkpoint, scope))
        if scope.cancel_called:
            raise self.faulty.error()
        return reply

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
    """An awaitable that calls back each time before it yields to Trio."""

    work: Awaitable[object]
    on_step: Callable[[], None]

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self.work.__await__()
        advance: Callable[[], object] = partial(next, steps)
        while True:
            try:
                trap = advance()
            except StopIteration as stop:
                return stop.value
            self.on_step()
            try:
                advance = partial(steps.send, (yield trap))
            except BaseException as error:  # noqa: BLE001  # passed on to `work`
                advance = partial(steps.throw, error)
