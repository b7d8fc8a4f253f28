"""Blocks that only Trio can run, which say what to use elsewhere."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar, final

import trio

P = ParamSpec("P")
T = TypeVar("T")


def trio_block(
    function: Callable[P, AsyncGenerator[T]],
) -> Callable[P, AbstractAsyncContextManager[T]]:
    """Make an async generator an async context manager that can be entered under Trio only.

    `callsheet.aio` and `callsheet.sync` have the same functions for other programs.

    Args:
        function: yields once, what the block gets.
    """
    make = asynccontextmanager(function)

    @wraps(function)
    def opening(*arguments: P.args, **options: P.kwargs) -> AbstractAsyncContextManager[T]:
        return _TrioBlock(make(*arguments, **options), function.__name__)

    return opening


@final
class _TrioBlock(AbstractAsyncContextManager[T]):
    """A context manager that is entered under Trio."""

    def __init__(self, manager: AbstractAsyncContextManager[T], name: str) -> None:
        self._manager = manager
        self._name = name

    async def __aenter__(self) -> T:
        if not trio.lowlevel.in_trio_run():
            raise RuntimeError(
                f"this {self._name} runs under Trio; under asyncio, import it from callsheet.aio, "
                "in a plain program from callsheet.sync"
            )
        return await self._manager.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)

    if not TYPE_CHECKING:  # type checkers refuse `with` by themselves

        def __enter__(self) -> NoReturn:
            raise RuntimeError(
                f"this {self._name} needs `async with`, under Trio; for `with`, import it from "
                "callsheet.sync"
            )

        def __exit__(self, *_: object) -> None:
            """Do nothing: the block is never entered."""
