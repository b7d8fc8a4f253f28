"""A probe: a stand-in for an actor that records messages and replies by a script."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, final, overload

import attrs
import trio

from .._core import Actor, Message, ReplySlot, StreamOf, defers, handles

M = TypeVar("M", bound=Message[Any])
R = TypeVar("R")
T = TypeVar("T")


@final
class Probe:
    """Records every message that its actor gets, over all incarnations, and replies by a script.

        probe = Probe()
        probe.answer(Price, 10, 12, OSError("closed"))
        shop = await runtime.spawn("shop", probe.actor)

    Attributes:
        received: every message so far, in the order in which they were handled.
    """

    def __init__(self) -> None:
        self.received: list[Message[Any]] = []
        self._unclaimed: list[Message[Any]] = []  # not returned by `wait_for` yet
        self._scripts: dict[type[Message[Any]], list[Any]] = {}
        self._arrived = trio.Event()  # set at the next message
        self._incarnations: list[_ProbeActor] = []

    def actor(self) -> Actor:
        """Make one incarnation; pass this method to `spawn` as the factory."""
        return _ProbeActor(self)

    @overload
    def answer(
        self,
        kind: type[StreamOf[T]],
        *script: Iterable[T] | Exception | Callable[[Any], Iterable[T]],
    ) -> None: ...

    @overload
    def answer(
        self, kind: type[Message[R]], *script: R | Exception | Callable[[Any], R]
    ) -> None: ...

    def answer(self, kind: type[Message[Any]], *script: Any) -> None:
        """Set the replies to a type of message and its subclasses from now on.

        An ask of a type without a script waits until one is set, or until its deadline.

        Args:
            kind: the type of message.
            *script: one reply after another; the last one is repeated. A value is the reply (for a
                stream, an iterable of its items). An exception is raised by the ask, like a
                declared error. A function gets the message and returns the reply; if it raises, the
                probe crashes.

        Raises:
            ValueError: the script is empty.
        """
        if not script:
            raise ValueError("script must have at least one reply")
        self._scripts[kind] = list(script)
        for incarnation in self._incarnations:
            incarnation.script_changed()

    async def wait_for(self, kind: type[M], *, timeout: float = 5.0) -> M:
        """Return the next message of a type; each message is returned once.

        Args:
            kind: the type of message; subclasses count.
            timeout: seconds to wait for a message that has not arrived yet.

        Raises:
            AssertionError: no such message arrived; the text lists those that did.
        """
        with trio.move_on_after(timeout):
            while True:
                for message in self._unclaimed:
                    if isinstance(message, kind):
                        self._unclaimed.remove(message)
                        return message
                await self._arrived.wait()
        arrived = ", ".join(type(message).__name__ for message in self._unclaimed) or "nothing"
        raise AssertionError(f"no {kind.__name__} arrived within {timeout:g} s; arrived: {arrived}")

    def _record(self, message: Message[Any]) -> None:
        self.received.append(message)
        self._unclaimed.append(message)
        self._arrived.set()
        self._arrived = trio.Event()

    def _script_for(self, message: Message[Any]) -> list[Any] | None:
        """Return the remaining script for a message's type; None if there is none."""
        scripts = self._scripts
        return next((scripts[kind] for kind in type(message).__mro__ if kind in scripts), None)


@attrs.frozen
class _Retry(Message[None]):
    """An ask that waited for a script."""

    message: Message[Any]
    slot: ReplySlot[Any]


@final
class _ProbeActor(Actor):
    """One incarnation of a probe."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._waiting: list[_Retry] = []

    async def started(self) -> None:
        """Register with the probe."""
        self._probe._incarnations.append(self)  # noqa: SLF001  # the two classes are one unit

    async def stopped(self) -> None:
        """Unregister from the probe."""
        self._probe._incarnations.remove(self)  # noqa: SLF001  # the two classes are one unit

    @defers(Message)
    async def receive(self, message: Message[Any], slot: ReplySlot[Any]) -> None:
        """Record any message and reply to it."""
        self._probe._record(message)  # noqa: SLF001  # the two classes are one unit
        await self._reply(_Retry(message, slot))

    @handles(_Retry)
    async def retry(self, message: _Retry) -> None:
        """Reply to an ask that waited for a script."""
        await self._reply(message)

    def script_changed(self) -> None:
        """Retry the asks that wait, since a script was set."""
        retries, self._waiting = self._waiting, []
        for retry in retries:
            self.send_after(0, retry)

    async def _reply(self, retry: _Retry) -> None:
        message, slot = retry.message, retry.slot
        script = self._probe._script_for(message)  # noqa: SLF001  # the two classes are one unit
        if script is None:
            if slot.receiver is None:
                slot.reply(None)  # sent by `tell`: no caller waits
            else:
                self._waiting.append(retry)
            return
        entry = script.pop(0) if len(script) > 1 else script[0]
        reply: Any = entry(message) if callable(entry) else entry
        if isinstance(reply, Exception):
            slot.fail(reply)
        elif slot.sink is None:
            slot.reply(reply)
        else:
            for item in reply:
                await slot.sink.send(item)
            slot.reply(None)
