"""What an asker, a spawner or the user of a runtime may have to catch."""

import enum

__all__ = [
    "ActorCrashed",
    "ActorStopped",
    "AlreadyPresent",
    "AlreadyRunning",
    "AskFailed",
    "AskTimedOut",
    "ChildNotFound",
    "ChildRestarting",
    "Deadlock",
    "Dropped",
    "MailboxFull",
    "RestartIntensityExceeded",
    "UnhandledMessage",
    "Verdict",
]


class Verdict(enum.Enum):
    """What the runtime knows of work whose answer never came (R3)."""

    NOT_STARTED = "not started"
    """No handler has begun it: asking again cannot do it twice."""

    MAY_HAVE_RUN = "may have run"
    """A handler had begun it: it may have had its effect, wholly or in part."""


class AskFailed(Exception):
    """The runtime's own answer to an ask, where the actor gave none.

    Attributes:
        actor: the path of the actor that had the message last.
        verdict: whether the work may have run.
    """

    def __init__(self, actor: str, verdict: Verdict, reason: str) -> None:
        super().__init__(f"{actor} {reason} (the work {_PHRASE[verdict]})")
        self.actor = actor
        self.verdict = verdict


_PHRASE = {
    Verdict.NOT_STARTED: "was not started: safe to ask again",
    Verdict.MAY_HAVE_RUN: "may have run",
}


class ActorCrashed(AskFailed):
    """The actor crashed with the message in its hands; the crash is the `__cause__`."""

    def __init__(self, actor: str, verdict: Verdict, error: BaseException) -> None:
        super().__init__(actor, verdict, f"crashed with {type(error).__name__}: {error}")
        self.__cause__ = error


class ActorStopped(AskFailed):
    """The actor was stopped, or had been already."""

    def __init__(self, actor: str, verdict: Verdict = Verdict.NOT_STARTED) -> None:
        super().__init__(actor, verdict, "is stopped")


class AskTimedOut(AskFailed):
    """The deadline of the ask passed; work that ran for it was cancelled (R4)."""

    def __init__(self, actor: str, verdict: Verdict) -> None:
        super().__init__(actor, verdict, "did not answer in time")


class MailboxFull(AskFailed):
    """The mailbox has no room and the sender would not wait (R5)."""

    def __init__(self, actor: str, capacity: int) -> None:
        super().__init__(actor, Verdict.NOT_STARTED, f"has a full mailbox of {capacity} messages")
        self.capacity = capacity


class Dropped(AskFailed):
    """The message was dropped for want of room, by the mailbox's policy (R5)."""

    def __init__(self, actor: str) -> None:
        super().__init__(actor, Verdict.NOT_STARTED, "dropped the message for want of room")


class Deadlock(AskFailed):
    """Everybody in a circle would wait for the next one, for ever.

    Attributes:
        circle: the paths of the actors, the first one again at the end.
    """

    def __init__(self, circle: tuple[str, ...]) -> None:
        super().__init__(
            circle[0], Verdict.NOT_STARTED, f"would wait for itself: {' -> '.join(circle)}"
        )
        self.circle = circle


class UnhandledMessage(TypeError):
    """The actor has no handler for this type of message. Raised at the sender, before queueing."""


class AlreadyRunning(ValueError):
    """A child of this name is there, and runs."""


class AlreadyPresent(ValueError):
    """A child of this name is there, and rests; it can be started again, or removed."""


class ChildRestarting(ValueError):
    """The child is between two lives."""


class ChildNotFound(LookupError):
    """There is no child of this name."""


class RestartIntensityExceeded(Exception):
    """An actor crashed more often than its supervisor restarts it (R7).

    The last crash is its `__cause__`; its notes tell the chain of failures, the first cause first.
    From the root it comes out of `open_runtime`.
    """
