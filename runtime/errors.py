"""Errors that callers, supervisors' users and users of a runtime may catch."""

import enum


def text_of(error: BaseException) -> str:
    """Return the message of an exception, or what stands for one that its class cannot write.

    Args:
        error: an exception of any class.
    """
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # a bug of the class must not hide the error
        return "its message cannot be written"


def described(error: BaseException) -> str:
    """Return the class of an exception and its message, if it has one."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Verdict(enum.Enum):
    """What the runtime knows about the work of an ask that got no reply from its actor (R3)."""

    NOT_STARTED = "not started"
    """No handler has started the work, so asking again cannot do it twice."""

    MAY_HAVE_RUN = "may have run"
    """A handler had started the work, so it may have had all or part of its effect."""


class AskFailed(Exception):
    """The runtime ended an ask for which the actor gave no reply; base of such errors (R3).

    Args:
        actor: path of the actor that had the message last.
        verdict: whether the work may have run.
        reason: what happened, as the end of a sentence that begins with `actor`.

    Attributes:
        actor: path of the actor that had the message last.
        verdict: whether the work may have run.
    """

    def __init__(self, actor: str, verdict: Verdict, reason: str) -> None:
        super().__init__(f"{actor} {reason}{_ENDING[verdict]}")
        self.actor = actor
        self.verdict = verdict


_ENDING = {
    Verdict.NOT_STARTED: " (the work was not started, so it is safe to ask again)",
    Verdict.MAY_HAVE_RUN: " (the work may have run)",
}


class ActorCrashed(AskFailed):
    """The actor crashed while it handled the message; the crash is the `__cause__`.

    Args:
        actor: path of the actor.
        verdict: whether the work may have run.
        error: the exception that the actor raised.
    """

    def __init__(self, actor: str, verdict: Verdict, error: BaseException) -> None:
        crash = described(error)
        if isinstance(error, AskFailed):
            # The verdict of an inner ask is about other work than that of the caller.
            crash = crash.removesuffix(_ENDING[error.verdict])
        super().__init__(actor, verdict, f"crashed with {crash}")
        self.__cause__ = error


class ActorStopped(AskFailed):
    """The actor is stopped, or was stopped before it replied.

    Args:
        actor: path of the actor.
        verdict: whether the work may have run.
    """

    def __init__(self, actor: str, verdict: Verdict = Verdict.NOT_STARTED) -> None:
        super().__init__(actor, verdict, "is stopped")


class AskTimedOut(AskFailed):
    """The deadline of the ask passed; work that ran for it was cancelled (R4).

    Args:
        actor: path of the actor that had the message last.
        verdict: whether the work may have run.
    """

    def __init__(self, actor: str, verdict: Verdict) -> None:
        super().__init__(actor, verdict, "did not reply in time")


class MailboxFull(AskFailed):
    """The mailbox is full, and the message was not to wait for room (R5).

    Args:
        actor: path of the actor.
        capacity: capacity of its mailbox, in messages.

    Attributes:
        capacity: capacity of the mailbox, in messages.
    """

    def __init__(self, actor: str, capacity: int) -> None:
        super().__init__(actor, Verdict.NOT_STARTED, f"has a full mailbox ({capacity} messages)")
        self.capacity = capacity


class Dropped(AskFailed):
    """The mailbox was full, and its overflow policy dropped the message (R5).

    Args:
        actor: path of the actor.
    """

    def __init__(self, actor: str) -> None:
        super().__init__(
            actor, Verdict.NOT_STARTED, "dropped the message because its mailbox was full"
        )


class Deadlock(AskFailed):
    """Actors wait for each other in a cycle, so none of them could ever continue.

    Args:
        cycle: paths of the actors in waiting order; the first one is repeated at the end.

    Attributes:
        cycle: paths of the actors in waiting order; the first one is repeated at the end.
    """

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(cycle[0], Verdict.NOT_STARTED, f"would deadlock: {' -> '.join(cycle)}")
        self.cycle = cycle


class MailboxFunctionFailed(AskFailed):
    """A priority or key function of a mailbox raised, or returned a value that cannot be used.

    Raised at the sender, before the message is queued; the actor and other messages are not
    affected (R17). The cause is the function's own exception.

    Args:
        actor: path of the actor.
        message: name of the message's type.
        error: the exception that the function raised, or that describes its value.
    """

    def __init__(self, actor: str, message: str, error: Exception) -> None:
        reason = f"could not order a {message}: {described(error)}"
        super().__init__(actor, Verdict.NOT_STARTED, reason)
        self.__cause__ = error


class UnhandledMessage(TypeError):
    """The actor has no handler for this type of message; raised at the sender, before queueing."""


class PortalClosed(Exception):
    """The runtime of a portal has ended, so it cannot do a call from another thread any more."""


class AlreadyRunning(ValueError):
    """The supervisor has a running child with this name."""


class AlreadyPresent(ValueError):
    """The supervisor has a stopped child with this name; restart it, or remove it first."""


class ChildRestarting(AlreadyRunning):
    """The child is being restarted, or waits for its next restart."""


class ChildStopping(AlreadyRunning):
    """The child is being stopped; wait until it has stopped."""


class TooManyChildren(RuntimeError):
    """The supervisor has as many children as its `max_children` allows."""


class StartTimedOut(Exception):
    """A child did not start within its `start_s`; the start was cancelled.

    Args:
        path: path of the child.
        start_s: the limit, in seconds.
    """

    def __init__(self, path: str, start_s: float) -> None:
        super().__init__(f"{path} did not start within {start_s:g} s")


class ChildNotFound(LookupError):
    """The supervisor has no child with this name."""


class ChildStopped(ChildNotFound):
    """The child was stopped before it had started."""


class RestartIntensityExceeded(Exception):
    """Children of a supervisor crashed more often than its restart policy allows (R7).

    The last crash is the `__cause__`. The notes are the chain of failures, the first cause first.
    The root supervisor's error is raised out of `open_runtime`.
    """
