"""Seeing what happens as it happens: objects with hooks, given frozen events.

With none installed an actor pays one test of an empty tuple for each message.
"""

import traceback
from typing import Literal, final

import attrs
import structlog

from .states import LostMessage

__all__ = [
    "ActorCrash",
    "ActorEvent",
    "DeadLetter",
    "Guarded",
    "Instrument",
    "MessageFailed",
    "MessageHandled",
    "StructlogInstrument",
]


_log = structlog.stdlib.get_logger("callsheet.runtime")


@attrs.frozen
class ActorEvent:
    """Something that happened to an actor.

    Args:
        actor: its path.
        incarnation: which life of it, from 1.
    """

    actor: str
    incarnation: int


@attrs.frozen
class MessageHandled:
    """A handler has come to its end.

    Args:
        actor: its path.
        message: the name of the message's type.
        seconds: how long the handler took.
    """

    actor: str
    message: str
    seconds: float


@attrs.frozen
class MessageFailed:
    """A handler has raised: a declared error, or a crash.

    Args:
        actor: its path.
        message: the name of the message's type.
        error: what it raised.
    """

    actor: str
    message: str
    error: BaseException


@attrs.frozen
class DeadLetter:
    """A message that nobody will handle, or that was cut off in a handler's hands by a stop.

    Args:
        actor: the path of the actor it was sent to.
        message: the name of the message's type.
        reason: "stopped": the actor is; "dropped": there was no room for it (R5).
    """

    actor: str
    message: str
    reason: Literal["stopped", "dropped"]


@attrs.frozen
class ActorCrash:
    """An actor, or a supervisor, has ended by an error.

    Args:
        actor: its path.
        incarnation: which life of it, from 1.
        lived_s: for how many seconds it had lived.
        lost: the messages it had in hand, with what led to them.
        error: the cause.
        decision: what its supervisor does.
        restart_in_s: seconds until it is started again; None if it is not.
    """

    actor: str
    incarnation: int
    lived_s: float
    lost: tuple[LostMessage, ...]
    error: BaseException
    decision: Literal["restart", "leave", "fail upward"]
    restart_in_s: float | None


class Instrument:
    """Base of what listens; each hook does nothing unless overridden. It must not wait.

    One that raises is told of in the log, and not called again.
    """

    def actor_spawned(self, event: ActorEvent) -> None:
        """A place was made; its first incarnation is being started."""

    def actor_started(self, event: ActorEvent) -> None:
        """An incarnation has started and takes messages."""

    def actor_crashed(self, event: ActorCrash) -> None:
        """An incarnation has ended by an error."""

    def actor_stopped(self, event: ActorEvent) -> None:
        """The place is given up, or rests until it is started again."""

    def message_handled(self, event: MessageHandled) -> None:
        """A handler has come to its end."""

    def message_failed(self, event: MessageFailed) -> None:
        """A handler has raised."""

    def dead_letter(self, event: DeadLetter) -> None:
        """A message will never be handled."""


class StructlogInstrument(Instrument):
    """One structlog event for each thing that happens, but for messages that were handled.

    Args:
        log: where to; by default the logger "callsheet.runtime".
    """

    def __init__(self, log: structlog.stdlib.BoundLogger | None = None) -> None:
        self._log = structlog.stdlib.get_logger("callsheet.runtime") if log is None else log

    def actor_spawned(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        self._log.debug("actor_spawned", actor=event.actor)

    def actor_started(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        self._log.info("actor_started", actor=event.actor, incarnation=event.incarnation)

    def actor_stopped(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        self._log.info("actor_stopped", actor=event.actor, incarnation=event.incarnation)

    def message_failed(self, event: MessageFailed) -> None:
        """See `Instrument`."""
        self._log.info("message_failed", **attrs.asdict(event, recurse=False))

    def dead_letter(self, event: DeadLetter) -> None:
        """See `Instrument`."""
        self._log.warning("dead_letter", **attrs.asdict(event, recurse=False))


@final
class Guarded(Instrument):
    """Another instrument until it raises; then it is as if that had been removed, as in Trio.

    Who only looks on must not make an actor or a supervisor crash.

    Args:
        instrument: the other one.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument: Instrument | None = instrument

    def actor_spawned(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        self._tell("actor_spawned", event)

    def actor_started(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        self._tell("actor_started", event)

    def actor_crashed(self, event: ActorCrash) -> None:
        """See `Instrument`."""
        self._tell("actor_crashed", event)

    def actor_stopped(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        self._tell("actor_stopped", event)

    def message_handled(self, event: MessageHandled) -> None:
        """See `Instrument`."""
        self._tell("message_handled", event)

    def message_failed(self, event: MessageFailed) -> None:
        """See `Instrument`."""
        self._tell("message_failed", event)

    def dead_letter(self, event: DeadLetter) -> None:
        """See `Instrument`."""
        self._tell("dead_letter", event)

    def _tell(self, hook: str, event: object) -> None:
        if self._instrument is None:
            return
        try:
            getattr(self._instrument, hook)(event)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the instrument's own
            _log.error(  # as text, without the locals of the frames (L8)
                "instrument_failed",
                instrument=repr(self._instrument),
                hook=hook,
                exception="".join(traceback.format_exception(error)),
            )
            self._instrument = None
