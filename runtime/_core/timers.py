"""What an actor has set up to be sent to itself: messages at a time, or at another actor's end."""

from collections.abc import Callable
from typing import TYPE_CHECKING, final

import attrs
import trio

from .checks import check_thread
from .log import log_callback_error
from .reply import Message
from .tracing import Trace

if TYPE_CHECKING:
    from .inbox import Inbox
    from .message_loop import MessageLoop
    from .snapshot import Ended


@final
@attrs.define(eq=False)
class Timer:
    """A message that an actor will handle at a given time; made by `Actor.send_at`.

    Attributes:
        message: the message that the actor will handle.
        when: the next time, in seconds on Trio's clock.
        period_s: seconds between one time and the next; None for a timer that fires once.
        done: whether the timer will not fire again.
        is_due: whether it has fired and its message still waits.
        trace: what the instruments know of the message that waits; None if there are none.
    """

    message: Message[object]
    _incarnation: "MessageLoop"
    when: float
    period_s: float | None = None
    done: bool = False
    is_due: bool = False
    trace: Trace | None = None

    def cancel(self) -> None:
        """Cancel the timer, even if it has fired and its message still waits; else do nothing."""
        check_thread()
        if self.is_due:
            self.is_due = False
            self._incarnation.timers.due.remove(self)
            self._incarnation.cell.counts.cancelled += 1
            self._incarnation.cell.end(self.trace, "cancelled")
        if not self.done:
            self.done = True
            self._incarnation.timers.running.pop(self, None)
            self._incarnation.cell.deadlines.settled()

    def expire(self) -> None:
        """Fire the timer; called by the runtime."""
        owner = self._incarnation
        if self.period_s is None:
            self.done = True
            owner.timers.running.pop(self, None)
        else:
            # The next multiple in the future: a late timer keeps its beat.
            now = trio.current_time()
            self.when += self.period_s * max(1, -(-(now - self.when) // self.period_s))
            owner.cell.deadlines.add(self.when, self)
        if not self.is_due:  # at most one message per timer waits
            self.is_due = True
            owner.timers.due.append(self)
            owner.cell.counts.bypassed += 1
            if owner.cell.instruments:
                self.trace = Trace(self.message, trio.current_time(), owner.cell.instruments)
                self.trace.send(owner.path, None, is_new=True)
            owner.wake_worker()


@final
@attrs.define(eq=False)
class Watch:
    """Waits for the end of another actor; made by `Actor.watch`.

    Args:
        incarnation: the incarnation that watches.
        other: the place of the actor that is watched.
        on: returns the message for the reason of the end.
    """

    _incarnation: "MessageLoop"
    _other: "Inbox"
    _on: Callable[["Ended"], Message[object]]

    def __call__(self, ended: "Ended") -> None:
        """Deliver the message; called by the runtime at the other actor's end."""
        if self._incarnation.timers.watches.pop(self, self) is self:
            return  # cancelled
        try:
            self._incarnation.timers.send_now(self._on(ended))
        except Exception as error:  # noqa: BLE001  # it must not harm the actor that ends (R17)
            log_callback_error("watch", error)

    def cancel(self) -> None:
        """Watch no longer; do nothing if the message was delivered already."""
        check_thread()
        if self._incarnation.timers.watches.pop(self, self) is None:
            self._other.forget_watch(self)


@final
class Timers:
    """The timers and watches of one incarnation.

    Args:
        incarnation: the incarnation that handles their messages.

    Attributes:
        running: the timers that will fire.
        due: the timers whose message waits.
        watches: the watches of other actors.
    """

    __slots__ = ("_incarnation", "due", "running", "watches")

    def __init__(self, incarnation: "MessageLoop") -> None:
        self._incarnation = incarnation
        self.running: dict[Timer, None] = {}
        self.due: list[Timer] = []
        self.watches: dict[Watch, None] = {}

    def send_at(self, when: float, message: Message[object], period_s: float | None) -> Timer:
        """Set a timer; see `Actor.send_at` and `Actor.send_every`."""
        cell = self._incarnation.cell
        check_thread(cell)
        cell.handler_of(message)
        timer = Timer(message, self._incarnation, when, period_s)
        self.running[timer] = None
        cell.deadlines.add(when, timer)
        return timer

    def send_now(self, message: Message[object]) -> None:
        """Have a message handled before those in the mailbox, unless none is handled any more."""
        if self._incarnation.takes_messages:
            self.send_at(trio.current_time(), message, None)

    def watch(self, other: "Inbox", on: Callable[["Ended"], Message[object]]) -> Watch:
        """See `Actor.watch`."""
        check_thread(self._incarnation.cell)
        watch = Watch(self._incarnation, other, on)
        self.watches[watch] = None
        other.on_ended(watch)
        return watch

    def end(self) -> None:
        """Cancel all, those that hooks have set at the end of the incarnation included."""
        for timer in list(self.running):
            timer.cancel()
        for watch in list(self.watches):
            watch.cancel()
        cell = self._incarnation.cell
        cell.counts.cancelled += len(self.due)
        for timer in self.due:
            cell.end(timer.trace, "cancelled")
        self.due.clear()
