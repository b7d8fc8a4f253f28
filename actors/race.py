"""Two copies of one request, of which the first answer wins."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ..runtime import open_collapsing_nursery
from .failures import Refusal

__all__ = ["race"]

T = TypeVar("T")
Copy = Callable[[], Awaitable[T]]


async def race(
    first: Copy[T],
    *,
    after_s: float,
    pay: Callable[[], bool],
    let_through: Callable[[], Awaitable[bool]],
    enter: Callable[[], Copy[T] | None],
) -> T:
    """The first answer of two copies; the other one is cancelled, which closes its connection.

    Args:
        first: makes the one.
        after_s: seconds after which it is late.
        pay: asked then whether there may be a second one; if so, it is paid for.
        let_through: waits until it may be sent; False for never.
        enter: what makes it, if it is to be sent still; whatever that took, the copy gives back.

    Raises:
        Refusal: neither has an answer; why the first one has none that came to its end.
    """
    over = trio.Event()
    found: list[T] = []
    refusals: list[Refusal] = []
    running = 1

    async def run(copy: Copy[T]) -> None:
        nonlocal running
        try:
            found.append(await copy())
        except Refusal as refusal:
            refusals.append(refusal)
        running -= 1
        if found or not running:
            over.set()

    async def follow() -> None:
        nonlocal running
        if not await let_through() or not running:  # over: nobody would give back what it took
            return
        copy = enter()
        if copy is not None:
            running += 1
            await run(copy)

    async with open_collapsing_nursery() as nursery:
        nursery.start_soon(run, first)
        with trio.move_on_after(after_s):
            await over.wait()
        if not over.is_set() and pay():
            nursery.start_soon(follow)
        await over.wait()
        nursery.cancel_scope.cancel()
    if found:
        return found[0]
    raise refusals[0]
