"""An actor that stands in for another: it records what it is sent, and answers as it is told."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, final, overload

import attrs
import trio

from .._core import Actor, Message, ReplySlot, StreamOf, defers, handles

__all__ = ["Probe"]

M = TypeVar("M", bound=Message[Any])
R = TypeVar("R")
T = TypeVar("T")


@final
class Probe:
    """Records every message that its actor gets, over all incarnations, and answers by a script.

        probe = Probe()
        probe.answer(Price, 10, 12, OSError("closed"))
        shop = await runtime.spawn("shop", probe.actor)

    Attributes:
        received: every message so far, in the order in which they were handled.
    """

    def __init__(self) -> None:
        self.received: list[Message[Any]] = []
        self._unclaimed: list[Message[Any]] = []  # received, and not returned by `wait_for` yet
        self._scripts: dict[type[Message[Any]], list[Any]] = {}
        self._news = trio.Event()  # a message has come
        self._lives: list[_ProbeActor] = []  # the incarnations that are alive

    def actor(self) -> Actor:
        """One incarnation; the factory for `spawn`."""
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
        """Say how messages of a kind, and of its subclasses, are answered from now on.

        An ask for which nothing has been said waits until something is, or for its deadline.

        Args:
            kind: the type of message.
            *script: one answer after another; the last one again and again. A value is the answer
                (a stream's is an iterable of its items); an exception is raised by the ask, as
                one that a handler declares; a function of the message returns the answer, and if
                it raises, the probe crashes.

        Raises:
            ValueError: there is no answer.
        """
        if not script:
            raise ValueError("script must have at least one answer")
        self._scripts[kind] = list(script)
        for life in self._lives:
            life.scripted()

    async def wait_for(self, kind: type[M], *, timeout: float = 5.0) -> M:
        """The next message of a kind; each is returned once.

        Args:
            kind: the type of message; subclasses count.
            timeout: seconds to wait for one that has not come yet.

        Raises:
            AssertionError: none came; it has what did.
        """
        with trio.move_on_after(timeout):
            while True:
                for message in self._unclaimed:
                    if isinstance(message, kind):
                        self._unclaimed.remove(message)
                        return message
                await self._news.wait()
        came = ", ".join(type(message).__name__ for message in self._unclaimed) or "nothing"
        raise AssertionError(f"no {kind.__name__} came within {timeout:g} s; {came} did")

    def _record(self, message: Message[Any]) -> None:
        self.received.append(message)
        self._unclaimed.append(message)
        self._news.set()
        self._news = trio.Event()

    def _script_for(self, message: Message[Any]) -> list[Any] | None:
        """What is left of the answers to its kind."""
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
        self._unanswered: list[_Retry] = []

    async def started(self) -> None:
        """It lives."""
        self._probe._lives.append(self)  # noqa: SLF001  # one idea, two classes

    async def stopped(self) -> None:
        """It lives no more."""
        self._probe._lives.remove(self)  # noqa: SLF001  # one idea, two classes

    @defers(Message)
    async def receive(self, message: Message[Any], slot: ReplySlot[Any]) -> None:
        """Take anything."""
        self._probe._record(message)  # noqa: SLF001  # one idea, two classes
        await self._answer(_Retry(message, slot))

    @handles(_Retry)
    async def retry(self, message: _Retry) -> None:
        """Now there may be an answer."""
        await self._answer(message)

    def scripted(self) -> None:
        """There are new answers."""
        waiting, self._unanswered = self._unanswered, []
        for retry in waiting:
            self.send_after(0, retry)

    async def _answer(self, retry: _Retry) -> None:
        message, slot = retry.message, retry.slot
        script = self._probe._script_for(message)  # noqa: SLF001  # one idea, two classes
        if script is None:
            if slot.asked is None:
                slot.reply(None)  # it was told: nobody waits
            else:
                self._unanswered.append(retry)
            return
        said = script.pop(0) if len(script) > 1 else script[0]
        answer: Any = said(message) if callable(said) else said
        if isinstance(answer, Exception):
            slot.fail(answer)
        elif slot.sink is None:
            slot.reply(answer)
        else:
            for item in answer:
                await slot.sink.send(item)
            slot.reply(None)
