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


MessageOutcome = Literal[
    "replied",
    "declared error",
    "crashed",
    "redelivered",
    "forwarded",
    "cancelled",
    "expired",
    "dropped",
    "stopped",
]
"""How a message ended.

"replied": the handler has returned or, if it deferred the reply, replied.
"declared error": the handler raised an error that it declares, or failed the slot that it deferred.
"crashed": the handler crashed the actor, or the actor crashed while it owed the reply.
"redelivered": the same, but the next incarnation gets the message again; another end follows.
"forwarded": the handler has passed it on; it continues as the message that was sent for it.
"cancelled": the caller gave up.
"expired": the caller's deadline passed.
"dropped": the mailbox was full (R5).
"stopped": the actor was stopped first, or while the handler ran.
"""


@attrs.frozen
class MessageSent:
    """A message is in a mailbox, or waits for room in one.

    Args:
        actor: path of the actor or pool that gets it.
        message: name of the message's type.
        parent: what this instrument returned for the message whose handler sends this one, that was
            forwarded, or for which it is sent alone (see `on_behalf_of`); None if there is none.
        links: what this instrument returned for each of several messages for which it is sent.
    """

    actor: str
    message: str
    parent: object
    links: tuple[object, ...]


@attrs.frozen
class MessageBegun:
    """A handler is about to be called.

    Args:
        actor: path of the actor, in a pool that of the member.
        message: name of the message's type.
        context: what this instrument returned from `message_sent`.
        queued_s: seconds since it was sent, the wait for room included.
        delivery: how often the message was delivered, from 1; see `redeliver` of `spawn`.
    """

    actor: str
    message: str
    context: object
    queued_s: float
    delivery: int


@attrs.frozen
class MessageDone:
    """A message has ended, whether a handler was called or not.

    Args:
        actor: path of the actor; that of the pool's member if it has taken the message.
        message: name of the message's type.
        context: what this instrument returned from `message_sent`.
        outcome: how it ended.
        error: what the handler raised, or failed the slot with; None if there was no error.
        queued_s: seconds from sending to the call of the handler or, if there was none, to the end.
        handled_s: seconds from the call of the handler to the end; 0 if there was none.
    """

    actor: str
    message: str
    context: object
    outcome: MessageOutcome
    error: BaseException | None
    queued_s: float
    handled_s: float


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

    For each message `message_sent` is called once, `message_begun` at each delivery, and
    `message_done` once, besides the calls with the outcome "redelivered". A message that its sender
    cannot send, as the call raises an error, is not reported.
    """

    def actor_spawned(self, event: ActorEvent) -> None:
        """An actor or supervisor was added; its first incarnation is about to start."""

    def actor_started(self, event: ActorEvent) -> None:
        """An incarnation has started and handles messages."""

    def actor_crashed(self, event: ActorCrash) -> None:
        """An incarnation has ended with an exception."""

    def actor_stopped(self, event: ActorEvent) -> None:
        """The actor or supervisor is stopped, for good or until it is started again."""

    def message_sent(self, event: MessageSent) -> object:  # noqa: ARG002  # the subclass's
        """Act on a message that is on its way; called in the task that sends it.

        Returns:
            The context of the message, such as a span's; the runtime only hands it on, to
            `message_begun`, to `message_done`, and to `message_sent` of what the handler sends.
            None for none.
        """
        return None

    def message_begun(self, event: MessageBegun) -> None:
        """A handler is about to be called.

        Called in the handler's task. Context variables that it sets are seen by this handler only.
        """

    def message_done(self, event: MessageDone) -> None:
        """A message has ended."""


class StructlogInstrument(Instrument):
    """Logs the life of actors, and the messages that did not end well.

    Messages that failed are `message_failed`, those that were dropped or stopped `dead_letter`.
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

    def message_done(self, event: MessageDone) -> None:
        """See `Instrument`."""
        if event.outcome in {"declared error", "crashed", "redelivered"}:
            self._log.info(
                "message_failed",
                actor=event.actor,
                message=event.message,
                outcome=event.outcome,
                error=event.error,
            )
        elif event.outcome in {"dropped", "stopped"}:
            self._log.warning(
                "dead_letter", actor=event.actor, message=event.message, reason=event.outcome
            )


@final
class Guarded(Instrument):
    """Calls another instrument until it raises, and never again after that, as Trio does.

    An instrument must not be able to crash an actor or a supervisor (R17).

    Args:
        instrument: the other instrument.

    Attributes:
        key: equal for all that call the same instrument, in whichever runtime.
        hears_sent: whether the instrument overrides `message_sent`; the others likewise. An event
            that no instrument hears is not made.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._has_failed = False
        self.key = id(instrument)
        self.hears_sent = _overrides(instrument, "message_sent")
        self.hears_begun = _overrides(instrument, "message_begun")
        self.hears_done = _overrides(instrument, "message_done")

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

    def message_sent(self, event: MessageSent) -> object:
        """See `Instrument`."""
        return self._call("message_sent", event)

    def message_begun(self, event: MessageBegun) -> None:
        """See `Instrument`."""
        self._call("message_begun", event)

    def message_done(self, event: MessageDone) -> None:
        """See `Instrument`."""
        self._call("message_done", event)

    def _call(self, hook: str, event: object) -> object:
        if self._has_failed:
            return None
        try:
            return getattr(self._instrument, hook)(event)
        except Exception as error:  # noqa: BLE001  # any error of an instrument is contained (R17)
            _log.error(  # as text, without the locals of the frames (L8)
                "instrument_failed",
                instrument=repr(self._instrument),
                hook=hook,
                exception="".join(traceback.format_exception(error)),
            )
            self._has_failed = True
            return None


def _overrides(instrument: Instrument, hook: str) -> bool:
    own = getattr(instrument, hook)
    return getattr(own, "__func__", own) is not getattr(Instrument, hook)
