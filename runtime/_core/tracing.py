"""What the instruments learn of each message, and the trace context that goes with it (R18).

A `Trace` stands in the envelope of its message, and in its slot for what is done in its name. It is
made only if there are instruments, so without any a message pays one test.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, final

from ..errors import ActorCrashed, ActorStopped
from .instruments import Guarded, MessageBegun, MessageDone, MessageOutcome, MessageSent
from .snapshot import Outcome

if TYPE_CHECKING:
    from .reply import Message, ReplySlot


@final
class Trace:
    """One message on its way, for the instruments; `end` reports its end once.

    Args:
        message: the message that was sent.
        sent_at: when it was sent, in seconds on Trio's clock.
        instruments: the instruments of the runtime in which its actor runs.
    """

    __slots__ = ("begun_at", "contexts", "instruments", "is_done", "name", "sent_at")

    def __init__(
        self, message: "Message[object]", sent_at: float, instruments: tuple[Guarded, ...]
    ) -> None:
        self.name = type(message).__name__
        self.sent_at = sent_at
        self.instruments = instruments
        self.contexts: dict[int, object] = {}  # of each instrument, by its key
        self.begun_at: float | None = None
        self.is_done = False

    def send(self, path: str, slot: "ReplySlot[Any] | None", *, is_new: bool = False) -> None:
        """Report that the message is on its way; called in the task that sends it.

        Args:
            path: path of the actor that gets it.
            slot: its slot; None for a `tell`.
            is_new: whether it continues no other message, since a timer sends it.
        """
        parent, links = (None, ()) if is_new else _sources(slot)
        if slot is not None:
            slot.trace = self
        for instrument in self.instruments:
            if not instrument.hears_sent:
                continue
            key = instrument.key
            event = MessageSent(
                path,
                self.name,
                None if parent is None else parent.contexts.get(key),
                tuple(link.contexts[key] for link in links if key in link.contexts),
            )
            context = instrument.message_sent(event)
            if context is not None:
                self.contexts[key] = context

    def begin(self, path: str, now: float, delivery: int) -> None:
        """Report that a handler is about to be called; called in its task.

        Args:
            path: path of the actor.
            now: the time on Trio's clock.
            delivery: how often the message was delivered, from 1.
        """
        self.begun_at = now
        for instrument in self.instruments:
            if not instrument.hears_begun:
                continue
            context = self.contexts.get(instrument.key)
            event = MessageBegun(path, self.name, context, now - self.sent_at, delivery)
            instrument.message_begun(event)

    def end(
        self, path: str, now: float, outcome: MessageOutcome, error: BaseException | None = None
    ) -> None:
        """Report the end of the message, unless that was done already.

        Args:
            path: path of the actor.
            now: the time on Trio's clock.
            outcome: how it ended; after "redelivered" it goes on.
            error: what the handler raised, if it did.
        """
        if self.is_done:
            return
        self.is_done = outcome != "redelivered"
        begun_at = now if self.begun_at is None else self.begun_at
        self.begun_at = None
        queued_s, handled_s = begun_at - self.sent_at, now - begun_at
        for instrument in self.instruments:
            if not instrument.hears_done:
                continue
            context = self.contexts.get(instrument.key)
            event = MessageDone(path, self.name, context, outcome, error, queued_s, handled_s)
            instrument.message_done(event)


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
"""The trace of the message that the current task handles; what it sends continues that trace."""

_askers: ContextVar[tuple[Trace, ...]] = ContextVar("_askers", default=())


@contextmanager
def on_behalf_of(slots: "Iterable[ReplySlot[Any]]") -> Generator[None]:
    """Let what is sent in the block continue the traces of several messages (R18).

    For work that is done for messages whose replies are deferred, such as one call for a batch:

        with on_behalf_of(member.slot for member in batch):
            reply = await other.ask(Combined(...))

    Instruments get the contexts of these messages as `MessageSent.links`; that of a single one as
    `MessageSent.parent`.

    Args:
        slots: the slots of these messages.
    """
    traces = (slot.trace for slot in slots)
    token = _askers.set(tuple(trace for trace in traces if trace is not None))
    try:
        yield
    finally:
        _askers.reset(token)


def outcome_of(slot: "ReplySlot[Any]") -> MessageOutcome:
    """Return how a message ended whose slot is filled, or has moved on with another message."""
    match slot.outcome:
        case None:
            return "forwarded"
        case Outcome.REPLIED:
            return "replied"
        case Outcome.CANCELLED:
            return "cancelled"
        case Outcome.EXPIRED:
            return "expired"
        case Outcome.FAILED:
            if isinstance(slot.error, ActorCrashed):
                return "crashed"
            return "stopped" if isinstance(slot.error, ActorStopped) else "declared error"


def _sources(slot: "ReplySlot[Any] | None") -> tuple[Trace | None, tuple[Trace, ...]]:
    """Return the trace that a new message continues, and those that it has links to."""
    if slot is not None and slot.trace is not None:  # it was forwarded
        return slot.trace, ()
    askers = _askers.get()
    if len(askers) == 1:
        return askers[0], ()
    return current_trace.get(), askers
