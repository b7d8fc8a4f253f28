"""Run one call of a tool. Whatever goes wrong in it is a result, which the model can read."""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import attrs
import orjson
import trio

from ..json_value import Json, kind_of
from ..responses import ToolCall

if TYPE_CHECKING:
    from .tool import Tool


@attrs.frozen
class ToolResult:
    """The result of one call of a tool.

    Args:
        call: the call that the model requested.
        text: the result as the model gets it.
        error: why the call failed; None if it did not.
        seconds: how long the function ran.
    """

    call: ToolCall
    text: str
    error: Exception | None = attrs.field(default=None, eq=False)
    seconds: float = 0.0


class InvalidToolCall(ValueError):
    """A model calls a tool that does not exist, or with arguments that are invalid."""


class ResultNotJson(TypeError):
    """A tool returned a value that cannot be written as JSON."""


async def run_call(tool: "Tool | None", call: ToolCall, *, known: str) -> ToolResult:
    """Run a call, and return its result or why there is none.

    Cancellation and KeyboardInterrupt are no results. They end the run.

    Args:
        tool: the tool with a function; None if there is no tool of that name.
        call: the call that the model requested.
        known: the names of all tools, for the model.
    """
    started = trio.current_time()
    try:
        text, error = await _result_of(tool, call, known), None
    except Exception as failed:  # noqa: BLE001  # whatever it is, the model is told
        error = _only_one(failed)
        text = f"Error: {_words_of(error)}"
    return ToolResult(call, text, error, trio.current_time() - started)


def _only_one(error: Exception) -> Exception:
    """Return the error in a group of one, into which a nursery of the function puts it."""
    group: object = error
    if not isinstance(group, ExceptionGroup):
        return error
    inner = cast("ExceptionGroup[Exception]", group).exceptions
    return _only_one(inner[0]) if len(inner) == 1 else error


def _words_of(error: Exception) -> str:
    words = str(error)
    if isinstance(error, InvalidToolCall | ResultNotJson):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


async def _result_of(tool: "Tool | None", call: ToolCall, known: str) -> str:
    if tool is None or tool.function is None:
        raise InvalidToolCall(f"there is no tool {call.name!r:.80}; the tools are: {known}")
    value = await _call(tool, tool.function, read_arguments(tool, call))
    return result_text(tool.name, value)


def read_arguments(tool: "Tool", call: ToolCall) -> Mapping[str, object]:
    """Return the arguments of a call, by their names.

    Args:
        tool: the tool that is called.
        call: the call that the model requested.

    Raises:
        InvalidToolCall: they are no JSON object, or do not match the signature of the function.
    """
    try:
        value = _arguments_in(call.arguments)
    except ValueError as error:
        raise InvalidToolCall(
            f"the arguments of {tool.name} are not valid JSON ({error})"
        ) from error
    if not isinstance(value, dict):
        raise InvalidToolCall(
            f"the arguments of {tool.name} must be one JSON object, not {kind_of(value)}"
        )
    if tool.signature is None:
        return value
    try:
        return tool.signature.read(value)
    except ValueError as error:
        raise InvalidToolCall(f"the arguments of {tool.name} do not match: {error}") from error


def _arguments_in(text: str) -> Json:
    """Return the JSON value of a text. Some models write none, or null, or JSON inside a string."""
    value = cast("Json", orjson.loads(text.strip().encode(errors="replace") or b"{}"))
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = cast("Json", orjson.loads(value.encode(errors="replace")))
    return {} if value is None else value


async def _call(
    tool: "Tool", function: Callable[..., object], arguments: Mapping[str, object]
) -> object:
    """Call an async function here, and any other one in a thread."""
    if _is_async(function):
        value = function(**arguments)
    else:
        # In a tuple: a decorator may hide that a function is async, and Trio takes no coroutine.
        (value,) = await trio.to_thread.run_sync(
            lambda: (function(**arguments),), abandon_on_cancel=tool.abandon_on_cancel
        )
    return await value if inspect.isawaitable(value) else value


def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # of an object that is called
    )


def result_text(name: str, value: object) -> str:
    """Return what a tool returned as a text for the model: JSON, unless it is a text.

    Args:
        name: the name of the tool, for the error.
        value: what it returned. Classes of attrs and pydantic, dataclasses, dates and so on are
            written as JSON.

    Raises:
        ResultNotJson: it cannot be written as JSON.
    """
    if isinstance(value, str):
        return value
    import msgspec  # noqa: PLC0415  # loaded with the first result that is no text

    try:
        return msgspec.json.encode(value, enc_hook=_dumped).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultNotJson(
            f"the result of {name}, of the type {type(value).__name__}, "
            f"cannot be written as JSON ({error})"
        ) from error


def _dumped(value: object) -> object:
    """Return the members of one of pydantic's models."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} is not supported")
    return cast("Callable[[], object]", dump)()
