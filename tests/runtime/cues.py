"""What the machines send."""

import attrs

from callsheet.runtime import Message, StreamOf

__all__ = [
    "AskOn",
    "Crash",
    "Cue",
    "Forward",
    "Keep",
    "Later",
    "Quit",
    "Reel",
    "Refuse",
    "Release",
    "Shielded",
    "Steady",
    "TellOn",
    "Urgent",
    "Watch",
]


@attrs.frozen
class Cue(Message[object]):
    """Takes `seconds` and answers."""

    seconds: float = 0.0


@attrs.frozen
class Steady(Cue):
    """Cannot be interrupted."""


@attrs.frozen
class Shielded(Cue):
    """Takes no notice of a cancellation until it is done."""


@attrs.frozen
class Urgent(Cue):
    """Does not queue."""


@attrs.frozen
class Refuse(Cue):
    """Ends with a declared error."""


@attrs.frozen
class Crash(Cue):
    """Ends with a crash."""


@attrs.frozen
class Quit(Cue):
    """Ends the incarnation."""


@attrs.frozen
class AskOn(Cue):
    """Asks the actors of `way`, each the next one."""

    way: tuple[int, ...] = ()
    timeout: float = 5.0


@attrs.frozen
class TellOn(Cue):
    """Tells the next of `way`, and waits for room."""

    way: tuple[int, ...] = ()


@attrs.frozen
class Forward(Cue):
    """Goes on along `way`; the last one answers, or crashes with the slot in its hands."""

    way: tuple[int, ...] = ()
    crashes: bool = False


@attrs.frozen
class Keep(Cue):
    """Is put off until a `Release`."""


@attrs.frozen
class Release(Cue):
    """Answers all that was put off."""


@attrs.frozen
class Later(Cue):
    """Sets a timer for a cue."""

    cue: Cue = attrs.field(factory=Cue)
    after: float = 1.0
    again: bool = False


@attrs.frozen
class Watch(Cue):
    """Watches another actor."""

    whom: int = 0


@attrs.frozen
class Reel(StreamOf[int]):
    """Streams `items`, with a pause of `seconds` before each, and may crash afterwards."""

    items: int = 3
    seconds: float = 0.0
    crashes: bool = False
