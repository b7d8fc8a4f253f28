"""Run the tools of an asyncio program in its own event loop."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar, cast

import attrs
import trio

from ..actors import Request, Tool, Troupe
from .bridge import LoopBridge

ResultT = TypeVar("ResultT")

_END_S = 1.0  # for the end of a tool that was cancelled


def with_tools_in_loop(request: Request[ResultT], bridge: LoopBridge[Troupe]) -> Request[ResultT]:
    """Return a request whose async tools run in the caller's event loop.

    Other tools run in threads of Trio, as they do under Trio. Each tool has the context variables
    of the task of Trio that runs it: those of the caller, and the span of the tool.

    Args:
        request: the request of the caller.
        bridge: the way to the caller's loop.
    """

    def moved(tool: Tool) -> Tool:
        function = tool.function
        if function is None:
            return tool
        return attrs.evolve(tool, function=_moved(function, bridge))

    return attrs.evolve(request, tools=tuple(moved(tool) for tool in request.tools))


def _moved(function: Callable[..., object], bridge: LoopBridge[Troupe]) -> Callable[..., object]:
    call = getattr(function, "__call__", None)  # noqa: B004  # of an object that is called
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):

        async def run(**arguments: object) -> object:
            async_function = cast("Callable[..., Awaitable[object]]", function)
            return await _in_loop(lambda: async_function(**arguments), bridge)

        return run

    def run_in_thread(**arguments: object) -> object:
        value = function(**arguments)
        if inspect.isawaitable(value):  # a decorator hides that the function is async
            awaitable: Awaitable[object] = value
            return _in_loop(lambda: awaitable, bridge)
        return value

    return run_in_thread


async def _in_loop(function: Callable[[], Awaitable[object]], bridge: LoopBridge[Troupe]) -> object:
    """Run an async function in the event loop, and wait for it in Trio.

    When this is cancelled, the function is cancelled, and may take a second to end.
    """
    loop, ended, context = bridge.loop, trio.Event(), copy_context()
    tasks: list[asyncio.Task[object]] = []  # one, once it has begun
    is_cancelled = False

    async def run() -> object:
        return await function()

    def begin() -> None:
        if not is_cancelled:
            task = loop.create_task(run(), context=context)
            tasks.append(task)
            task.add_done_callback(lambda _: bridge.thread.post(ended.set))

    def cancel() -> None:
        for task in tasks:
            task.cancel()

    try:
        loop.call_soon_threadsafe(begin)
        await ended.wait()
    except trio.Cancelled:
        is_cancelled = True
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(cancel)
            if tasks:
                with trio.move_on_after(_END_S, shield=True):
                    await ended.wait()
        raise
    (task,) = tasks
    if task.cancelled():
        raise RuntimeError("the tool was cancelled")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, Exception):
        raise error
    raise RuntimeError(f"the tool ended with {type(error).__name__}") from error
