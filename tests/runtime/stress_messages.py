"""The messages of the stress tests."""

from typing import Literal

import attrs

from callsheet.runtime import Message, StreamOf

__all__ = [
    "AskOn",
    "Crash",
    "Forward",
    "Hold",
    "Nest",
    "Own",
    "RaiseDeclared",
    "Release",
    "SendItems",
    "SetTimer",
    "Shielded",
    "StopItself",
    "TellOn",
    "Uninterruptible",
    "Urgent",
    "Wait",
    "Watch",
]


@attrs.frozen
class Wait(Message[object]):
    """Is replied to after some seconds."""

    seconds: float = 0.0


@attrs.frozen
class Uninterruptible(Wait):
    """Has a handler that is not cancelled when the caller gives up."""


@attrs.frozen
class Shielded(Wait):
    """Has a handler that ignores cancellation until it is done."""


@attrs.frozen
class Urgent(Wait):
    """Bypasses the mailbox."""


@attrs.frozen
class RaiseDeclared(Wait):
    """Raises a declared error."""


@attrs.frozen
class Crash(Wait):
    """Crashes the actor."""


@attrs.frozen
class StopItself(Wait):
    """Ends the incarnation."""


@attrs.frozen
class AskOn(Wait):
    """Makes each actor on the route ask the next one."""

    route: tuple[int, ...] = ()
    timeout: float = 5.0


@attrs.frozen
class TellOn(Wait):
    """Makes each actor on the route tell the next one, and wait for room."""

    route: tuple[int, ...] = ()


@attrs.frozen
class Forward(Wait):
    """Is forwarded along the route; the last actor replies, or crashes while it holds the slot."""

    route: tuple[int, ...] = ()
    crashes: bool = False


@attrs.frozen
class Hold(Wait):
    """Gets no reply until a `Release`."""


@attrs.frozen
class Release(Wait):
    """Sends the replies to all `Hold` messages."""


@attrs.frozen
class SetTimer(Wait):
    """Sets a timer for a message."""

    message: Wait = attrs.field(factory=Wait)
    after: float = 1.0
    periodic: bool = False


@attrs.frozen
class Watch(Wait):
    """Watches another actor; the function that returns the message may raise."""

    target: int = 0
    fails: bool = False
    is_cancelled: bool = False  # after `seconds`


@attrs.frozen
class Own(Wait):
    """Makes the actor open something that ends with its incarnation."""

    what: Literal["task", "context", "child", "pool", "supervisor"] = "task"
    fails: bool = False  # after `seconds`


@attrs.frozen
class Nest(Wait):
    """Is handled in a nursery of the handler, in which two tasks run and may crash."""

    crashes: bool = False


@attrs.frozen
class SendItems(StreamOf[int]):
    """Streams some items, with a pause of some seconds before each, and may crash afterwards."""

    items: int = 3
    seconds: float = 0.0
    crashes: bool = False
