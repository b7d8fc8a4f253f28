"""The slot an answer goes into: it travels with the message and is filled exactly once (R3)."""

import enum
from collections.abc import Callable
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast, final

import trio

from .deadlines import Deadlines
from .errors import ActorStopped, AskFailed, AskTimedOut, Verdict
from .message import Message

if TYPE_CHECKING:
    from .ref import Ref

__all__ = ["Holder", "ReplySlot", "Settlement", "current_slot"]

R = TypeVar("R")


class Settlement(enum.Enum):
    """How a slot was filled."""

    REPLIED = "replied"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Holder(Protocol):
    """The actor's place that has the message just now, and owes the answer."""

    @property
    def path(self) -> str:
        """Where in the tree it stands."""
        ...

    def released(self, slot: "ReplySlot[object]") -> None:
        """The slot was filled, or has gone on to another actor."""
        ...


@final
class ReplySlot(Generic[R]):
    """Where the answer to one message goes, with the deadline and the cancel link of whoever asked.

    A handler made with `defers` gets the slot with its message, may keep it as long as it likes,
    and fills it with `reply` or `fail` or hands it on with `forward`. Whatever happens first
    counts; everything later is a no-op, so a reply may race a cancellation without harm.

    Attributes:
        deadline: on Trio's clock; infinity if there is none (R4).
        settlement: how it was filled, or None.
        value: the answer, once replied.
        error: why there is none, once failed or expired.
        started: whether work that cannot be undone has begun for it; see `start`.
    """

    __slots__ = (
        "_callbacks",
        "_deadlines",
        "_holder",
        "_task",
        "deadline",
        "error",
        "settlement",
        "started",
        "value",
    )

    def __init__(self, deadline: float = inf) -> None:
        self._task: trio.lowlevel.Task | None = None  # the asker, while it sleeps in `wait`
        self._callbacks: list[Callable[[ReplySlot[R]], None]] | None = None
        self._deadlines: Deadlines | None = None
        self._holder: Holder | None = None
        self.deadline = deadline
        self.settlement: Settlement | None = None
        self.value: R | None = None
        self.error: Exception | None = None
        self.started = False

    def __repr__(self) -> str:
        state = self.settlement.value if self.settlement else "open"
        where = f" at {self._holder.path}" if self._holder else ""
        return f"<ReplySlot {state}{where}>"

    @property
    def done(self) -> bool:
        """Whether it is filled: then nobody waits for the work any more."""
        return self.settlement is not None

    @property
    def verdict(self) -> Verdict:
        """Whether the work may have run."""
        return Verdict.MAY_HAVE_RUN if self.started else Verdict.NOT_STARTED

    def start(self) -> None:
        """Say that work which cannot be undone begins now.

        A handler made with `handles` starts its slot by itself. One made with `defers` only keeps
        the message or hands it on, which can be done again; if it does the work itself, it says so
        here, and whoever asked is told "may have run" if the actor dies.
        """
        self.started = True

    def reply(self, value: R) -> bool:
        """Answer. Returns False if the slot was filled before."""
        if self.settlement is not None:
            return False
        self.value = value
        self._settle(Settlement.REPLIED)
        return True

    def fail(self, error: Exception) -> bool:
        """Answer with an error, which the asker's `ask` raises. False if it was filled before."""
        if self.settlement is not None:
            return False
        self.error = error
        self._settle(Settlement.FAILED)
        return True

    def cancel(self) -> bool:
        """Give up on the answer: queued work is skipped, running work is cancelled (R4)."""
        if self.settlement is not None:
            return False
        self._settle(Settlement.CANCELLED)
        return True

    def postpone(self, deadline: float) -> None:
        """Give the work more time; for whoever made the slot by `Ref.submit`.

        Args:
            deadline: on Trio's clock; an earlier one than it has changes nothing.
        """
        self.deadline = max(self.deadline, deadline)

    def expire(self) -> None:
        """The deadline has passed: like `cancel`, and the asker gets `AskTimedOut`."""
        if self.settlement is not None:
            return
        if self.deadline > trio.current_time():  # it was postponed
            if self._deadlines is not None and self.deadline < inf:
                self.watch(self._deadlines, self.deadline)
            return
        path = self._holder.path if self._holder else "the actor"
        self.error = AskTimedOut(path, self.verdict)
        self._settle(Settlement.EXPIRED)

    async def forward(self, to: "Ref", message: Message[R]) -> None:
        """Hand the work on: the answer will go straight to whoever asked.

        Waits while the mailbox of `to` is full, which is the backpressure. If `to` is stopped, the
        slot fails; forwarding a filled slot does nothing but checkpoint.
        """
        if self.settlement is not None:
            await trio.lowlevel.checkpoint()
            return
        cell = to._cell  # noqa: SLF001  # the runtime's own
        try:
            await cell.put((message, cast("ReplySlot[object]", self)))
        except ActorStopped as error:
            self.fail(error)
        except BaseException:
            self.fail(ActorStopped(cell.path))  # it is in nobody's hands
            raise

    def on_settled(self, callback: Callable[["ReplySlot[R]"], None]) -> None:
        """Call back, once, when the slot is filled, however that comes about.

        The callback runs at once in whatever task fills the slot; it must not raise or wait.
        """
        if self.settlement is not None:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    async def wait(self) -> R:
        """Sleep until it is filled; one task only. Cancelled, it gives up on the answer (R4)."""

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            self.cancel()
            return trio.lowlevel.Abort.SUCCEEDED

        if self.settlement is None:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(abort)
        else:
            await trio.lowlevel.checkpoint()
        if self.settlement is Settlement.REPLIED:
            return cast("R", self.value)
        if self.error is None:  # a holder called `cancel`, which is the asker's, rather than `fail`
            self.error = AskFailed("the actor", self.verdict, "gave the message up")
        raise self.error

    def hold(self, holder: Holder | None) -> None:
        """The runtime's: `holder` has the message from now on."""
        before = self._holder
        self._holder = holder
        if before is not None and before is not holder:
            before.released(cast("ReplySlot[object]", self))

    def is_held_by(self, holder: Holder) -> bool:
        """The runtime's: whether `holder` has the message."""
        return self._holder is holder

    def watch(self, deadlines: Deadlines, when: float) -> None:
        """The runtime's: expire at `when`."""
        self._deadlines = deadlines
        deadlines.add(when, self)

    def _settle(self, settlement: Settlement) -> None:
        self.settlement = settlement
        if self._deadlines is not None and settlement is not Settlement.EXPIRED:
            self._deadlines.settled()
        holder = self._holder
        if holder is not None:
            self._holder = None
            holder.released(cast("ReplySlot[object]", self))
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task)
        if self._callbacks is not None:
            callbacks, self._callbacks = self._callbacks, None
            for callback in callbacks:
                callback(self)


current_slot: ContextVar[ReplySlot[object] | None] = ContextVar("current_slot", default=None)
"""The slot of the message that the current task works for; asks made there inherit its deadline."""
