"""Instruments: objects whose hooks the runtime calls with frozen events.

Without any, an actor pays one test of an empty tuple for each message.
"""

import traceback
from typing import Literal, final

import attrs

from ..errors import Verdict
from .log import Logger, get_logger

_log = get_logger("callsheet.runtime")


@attrs.frozen
class ActorEvent:
    """An event of an actor's or supervisor's life cycle.

    Args:
        actor: path of the actor or supervisor.
        incarnation: number of the incarnation, from 1; 0 before the first has started.
    """

    actor: str
    incarnation: int


@attrs.frozen
class MessageHandled:
    """A handler has returned or raised a declared error.

    Args:
        actor: path of the actor.
        message: name of the message's type.
        seconds: duration of the handler, in seconds.
    """

    actor: str
    message: str
    seconds: float


@attrs.frozen
class MessageFailed:
    """A handler has raised a declared error, or has crashed.

    Args:
        actor: path of the actor.
        message: name of the message's type.
        error: the exception that the handler raised.
    """

    actor: str
    message: str
    error: BaseException


@attrs.frozen
class DeadLetter:
    """A message that no handler will handle, or whose handler was interrupted by a stop.

    Args:
        actor: path of the actor to which the message was sent.
        message: name of the message's type.
        reason: "stopped": the actor is stopped. "dropped": the mailbox was full (R5).
    """

    actor: str
    message: str
    reason: Literal["stopped", "dropped"]


@attrs.frozen
class LostMessage:
    """A message that was in progress when its actor crashed.

    Args:
        chain: the messages that led to it, the first cause first and the lost message last; each as
            "type at path".
        verdict: whether the work may have run.
    """

    chain: tuple[str, ...]
    verdict: Verdict


@attrs.frozen
class ActorCrash:
    """An incarnation of an actor or supervisor has ended with an exception.

    Args:
        actor: path of the actor or supervisor.
        incarnation: number of the incarnation, from 1.
        uptime_s: seconds that the incarnation ran.
        lost: the messages that were in progress.
        error: the exception that ended the incarnation.
        decision: what the supervisor does: restart the child, leave it stopped, or stop all its
            children and raise an error itself.
        restart_in_s: seconds until the restart; None if there is no restart, or if it is immediate.
    """

    actor: str
    incarnation: int
    uptime_s: float
    lost: tuple[LostMessage, ...]
    error: BaseException
    decision: Literal["restart", "leave", "fail upward"]
    restart_in_s: float | None


class Instrument:
    """Base class of instruments; each hook does nothing unless overridden.

    The hooks run in the runtime's own tasks, so they must not block. If a hook raises, the
    instrument is logged as `instrument_failed` and not called again.
    """

    def actor_spawned(self, event: ActorEvent) -> None:
        """An actor or supervisor was added; its first incarnation is about to start."""

    def actor_started(self, event: ActorEvent) -> None:
        """An incarnation has started and handles messages."""

    def actor_crashed(self, event: ActorCrash) -> None:
        """An incarnation has ended with an exception."""

    def actor_stopped(self, event: ActorEvent) -> None:
        """The actor or supervisor is stopped, for good or until it is started again."""

    def message_handled(self, event: MessageHandled) -> None:
        """A handler has returned or raised a declared error."""

    def message_failed(self, event: MessageFailed) -> None:
        """A handler has raised a declared error, or has crashed."""

    def dead_letter(self, event: DeadLetter) -> None:
        """A message will not be handled to its end."""


class StructlogInstrument(Instrument):
    """Logs one event at each hook except `message_handled`.

    Crashes are not logged here, since the runtime always logs them itself.

    Args:
        log: the logger, of `get_logger` or structlog; by default that of the runtime itself.
    """

    def __init__(self, log: Logger | None = None) -> None:
        self._log = get_logger("callsheet.runtime") if log is None else log

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
    """Calls another instrument until it raises, and never again after that, as Trio does.

    An instrument must not be able to crash an actor or a supervisor (R17).

    Args:
        instrument: the other instrument.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument: Instrument | None = instrument

    def actor_spawned(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        self._call("actor_spawned", event)

    def actor_started(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        self._call("actor_started", event)

    def actor_crashed(self, event: ActorCrash) -> None:
        """See `Instrument`."""
        self._call("actor_crashed", event)

    def actor_stopped(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        self._call("actor_stopped", event)

    def message_handled(self, event: MessageHandled) -> None:
        """See `Instrument`."""
        self._call("message_handled", event)

    def message_failed(self, event: MessageFailed) -> None:
        """See `Instrument`."""
        self._call("message_failed", event)

    def dead_letter(self, event: DeadLetter) -> None:
        """See `Instrument`."""
        self._call("dead_letter", event)

    def _call(self, hook: str, event: object) -> None:
        if self._instrument is None:
            return
        try:
            getattr(self._instrument, hook)(event)
        except Exception as error:  # noqa: BLE001  # any error of an instrument is contained (R17)
            _log.error(  # as text, without the locals of the frames (L8)
                "instrument_failed",
                instrument=repr(self._instrument),
                hook=hook,
                exception="".join(traceback.format_exception(error)),
            )
            self._instrument = None
