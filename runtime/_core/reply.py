"""The slot an answer goes into: it travels with the message and is filled exactly once (R3).

What actors say to each other: frozen values that name the type of their answer.
"""

import enum
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, final

import trio
from trio.lowlevel import current_task, reschedule, wait_task_rescheduled

from ..errors import ActorStopped, AskFailed, AskTimedOut, Deadlock, MailboxFull, Verdict
from .deadlines import DeadlineLane, Deadlines

if TYPE_CHECKING:
    from .cell import Cell
    from .incarnation import Incarnation
    from .ref import Ref
    from .stream import StreamSink
    from .worker import Worker

    # Whoever has the message just now: the place where it queues, the life that holds it, or the
    # worker that handles it. Each has `path`, and `released`, which it is told at the end.
    Holder: TypeAlias = Cell | Incarnation | Worker

__all__ = [
    "Message",
    "Outcome",
    "ReplySlot",
    "current_slot",
]


R_co = TypeVar("R_co", covariant=True)


class Message(Generic[R_co]):
    """Base of every message; its type argument is the type of the answer.

    Subclasses are frozen attrs classes, so that a message may be read by several actors and
    replayed after a restart without anyone having changed it:

        @attrs.frozen
        class Greet(Message[str]):
            name: str

    ``await ref.ask(Greet("Ada"))`` is then a ``str`` to a type checker. A message that is only
    told, never asked, is a ``Message[None]``.
    """

    __slots__ = ()


R = TypeVar("R")


class Outcome(enum.Enum):
    """How a slot was filled."""

    REPLIED = "replied"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@final
class ReplySlot(Generic[R]):
    """Where the answer to one message goes, with the deadline and the cancel link of whoever asked.

    A handler made with `defers` gets the slot with its message, may keep it as long as it likes,
    and fills it with `reply` or `fail` or hands it on with `forward`. Whatever happens first
    counts; everything later is a no-op, so a reply may race a cancellation without harm.

    Attributes:
        deadline: on Trio's clock; infinity if there is none (R4).
        outcome: how it was filled, or None.
        value: the answer, once replied.
        error: why there is none, once failed or expired.
        started: whether work that cannot be undone has begun for it; see `start`.
        message: what was asked; for logs.
        asked: of whom; for logs.
        cause: the slot of the message for which it was asked, if any.
        sink: where the items go, if the answer is a stream.
        asker: the worker that sleeps until it is filled, if it is one that does.
        holder: who has the message just now.
        task: the asker, while it sleeps until it is filled.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_deadlines",
        "_lane",
        "asked",
        "asker",
        "cause",
        "deadline",
        "error",
        "holder",
        "message",
        "outcome",
        "sink",
        "started",
        "task",
        "value",
    )

    # Written out rather than generated: an ask pays for it.
    def __init__(self) -> None:
        self.deadline: float = inf
        self.outcome: Outcome | None = None
        self.value: R | None = None
        self.error: Exception | None = None
        self.started: bool = False
        self.message: Message[object] | None = None
        self.asked: Cell | None = None
        self.cause: ReplySlot[Any] | None = None
        self.sink: StreamSink[Any] | None = None
        self.holder: Holder | None = None
        self.asker: Worker | None = None
        self.task: trio.lowlevel.Task | None = None
        self._callbacks: list[Callable[[ReplySlot[R]], None]] | None = None
        self._lane: DeadlineLane | None = None
        self._deadlines: Deadlines | None = None

    def __repr__(self) -> str:
        state = self.outcome.value if self.outcome else "open"
        where = f" at {self.holder.path}" if self.holder else ""
        return f"<ReplySlot {state}{where}>"

    @property
    def done(self) -> bool:
        """Whether it is filled: then nobody waits for the work any more."""
        return self.outcome is not None

    @property
    def verdict(self) -> Verdict:
        """Whether the work may have run."""
        return Verdict.MAY_HAVE_RUN if self.started else Verdict.NOT_STARTED

    @property
    def blockers(self) -> "Sequence[Worker]":
        """The runtime's: the workers any of whom has to go on before it is filled (`waiting`)."""
        return () if self.holder is None else self.holder.blockers

    def start(self) -> None:
        """Say that work which cannot be undone begins now.

        A handler made with `handles` starts its slot by itself. One made with `defers` only keeps
        the message or hands it on, which can be done again; if it does the work itself, it says so
        here, and whoever asked is told "may have run" if the actor dies.
        """
        self.started = True

    def reply(self, value: R) -> bool:
        """Answer. Returns False if the slot was filled before."""
        if self.outcome is not None:
            return False
        self.value = value
        self._settle(_REPLIED)
        return True

    def fail(self, error: Exception) -> bool:
        """Answer with an error, which the asker's `ask` raises. False if it was filled before."""
        if self.outcome is not None:
            return False
        self.error = error
        self._settle(Outcome.FAILED)
        return True

    def cancel(self) -> bool:
        """Give up on the answer: queued work is skipped, running work is cancelled (R4)."""
        if self.outcome is not None:
            return False
        self._settle(Outcome.CANCELLED)
        return True

    def postpone(self, deadline: float) -> None:
        """Give the work more time; for whoever made the slot by `Ref.submit`.

        Args:
            deadline: on Trio's clock; an earlier one than it has changes nothing.
        """
        self.deadline = max(self.deadline, deadline)

    def expire(self) -> None:
        """The deadline has passed: like `cancel`, and the asker gets `AskTimedOut`."""
        if self.outcome is not None:
            return
        if self.deadline > trio.current_time():  # it was postponed
            if self._deadlines is not None and self.deadline < inf:
                self.watch(self._deadlines, self.deadline)
            return
        path = self.holder.path if self.holder else "the actor"
        self.error = AskTimedOut(path, self.verdict)
        self._settle(Outcome.EXPIRED)

    async def forward(self, to: "Ref", message: Message[R]) -> None:
        """Hand the work on: the answer will go straight to whoever asked.

        Waits while the mailbox of `to` is full, which is the backpressure. If `to` is stopped, or
        refuses or drops the message, the slot fails; forwarding a filled slot does nothing but
        checkpoint.
        """
        if self.outcome is not None:
            await trio.lowlevel.checkpoint()
            return
        try:
            await to.deliver(message, self)
        except (ActorStopped, MailboxFull, Deadlock) as error:
            self.fail(error)
        except BaseException:
            self.fail(ActorStopped(to.path))  # it is in nobody's hands
            raise

    def on_settled(self, callback: Callable[["ReplySlot[R]"], None]) -> None:
        """Call back, once, when the slot is filled, however that comes about.

        The callback runs at once in whatever task fills the slot; it must not raise or wait.
        """
        if self.outcome is not None:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    async def wait(self) -> R:
        """Sleep until it is filled; one task only. Cancelled, it gives up on the answer (R4)."""
        if self.outcome is None:
            self.task = current_task()
            await wait_task_rescheduled(self.abort)
        else:
            await trio.lowlevel.checkpoint()
        return self.result()

    def result(self) -> R:
        """The runtime's: the answer of a slot that is filled, or else why there is none."""
        if self.outcome is _REPLIED:
            return self.value  # type: ignore[return-value]  # it is an R once it is replied
        if self.error is None:  # a holder called `cancel`, which is the asker's, rather than `fail`
            self.error = AskFailed("the actor", self.verdict, "gave the message up")
        raise self.error

    def abort(self, _: object) -> trio.lowlevel.Abort:
        """The runtime's: whoever sleeps until it is filled is cancelled."""
        self.task = None
        self.cancel()
        return trio.lowlevel.Abort.SUCCEEDED

    def chain(self) -> tuple[str, ...]:
        """What was asked, and before it what that was asked for, the first cause first."""
        links: list[str] = []
        slot: ReplySlot[Any] | None = self
        while slot is not None:
            if slot.asked is not None:
                links.append(f"{type(slot.message).__name__} at {slot.asked.path}")
            slot = slot.cause
        return tuple(reversed(links))

    def hold(self, holder: "Holder | None") -> None:
        """The runtime's: `holder` has the message from now on."""
        before = self.holder
        self.holder = holder
        if before is not None and before is not holder:
            before.released(self)

    def is_held_by(self, holder: "Holder") -> bool:
        """The runtime's: whether `holder` has the message."""
        return self.holder is holder

    def watch_after(self, deadlines: Deadlines, timeout: float, when: float) -> None:
        """The runtime's: expire at `when`, which is `timeout` seconds from now."""
        lane = self._lane = deadlines.add_after(timeout, when, self)
        if lane is None:
            self._deadlines = deadlines

    def watch(self, deadlines: Deadlines, when: float) -> None:
        """The runtime's: expire at `when`."""
        self._deadlines = deadlines
        deadlines.add(when, self)

    def _settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        if self._lane is not None:
            self._lane.pop(self, None)
        elif self._deadlines is not None and outcome is not Outcome.EXPIRED:
            self._deadlines.settled()
        holder = self.holder
        if holder is not None:
            self.holder = None
            holder.released(self)
        task = self.task
        if task is not None:
            self.task = None
            reschedule(task)
        if self._callbacks is not None:
            callbacks, self._callbacks = self._callbacks, None
            for callback in callbacks:
                callback(self)


_REPLIED = Outcome.REPLIED

current_slot: ContextVar[ReplySlot[Any] | None] = ContextVar("current_slot", default=None)
"""The slot of the message that the current task works for; asks made there inherit its deadline."""
