"""The shapes of a step's result, and how the text of a response is read as one of them.

Models number lines, quote titles, and introduce lists although the prompt asks for none of this.
The functions here remove such additions.
"""

import json
import re
from collections.abc import Iterator
from typing import Literal, cast

StepShape = Literal["text", "line", "list"]
SHAPES: tuple[StepShape, ...] = ("text", "line", "list")

StepResult = str | tuple[str, ...]
"""The result of a step: one text, or the items of a list."""

_FENCE_OR_RULE = re.compile(r"```.*|[-=*_]{3,}")
_MARKER = re.compile(r"[-*+•]\s+|\(?\d{1,3}[.)](?!\d)\s*")
_QUOTES = {  # {opening mark: closing mark}
    '"': '"',
    "'": "'",
    "`": "`",
    "“": "”",
    "\u2018": "\u2019",  # the single ones, which Ruff takes for a grave accent
    "«": "»",
    "„": "“",
}


class EmptyResponse(ValueError):
    """A response has no line or list item, although the step requires one."""


def read_result(shape: StepShape, text: str) -> StepResult:
    """Read the text of a response as the result of its step.

    Args:
        shape: "text" is the whole text without white space at its ends, which may be empty; "line"
            is the first line that is not empty; "list" is one item a line, or one line with
            commas, or a JSON array of strings. Heading marks, numbering, bold and surrounding
            quotation marks are removed from lines and items.
        text: text of the response.

    Raises:
        EmptyResponse: there is no line, or no item.
    """
    if shape == "text":
        return text.strip()
    if shape == "line":
        for line in map(_bare, _lines(text)):
            if line:
                return line
        raise EmptyResponse("the response is empty; the step requires a line")
    items = tuple(item for item in map(_bare, _items(text)) if item)
    if not items:
        raise EmptyResponse("the response is empty; the step requires a list")
    return items


def _lines(text: str) -> list[str]:
    """Return the lines that are neither empty, nor code fences, nor rules."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not _FENCE_OR_RULE.fullmatch(line)]


def _items(text: str) -> Iterator[str]:
    lines = _lines(text)
    array = _json_strings("\n".join(lines))
    if array is not None:
        yield from (" ".join(item.split()) for item in array)  # a string may hold line breaks
        return
    if len(lines) == 1 and not _marked(lines[0]):
        yield from lines[0].split(",")
        return
    if len(lines) > 1 and lines[0].endswith(":") and not _marked(lines[0]) and _marked(lines[1]):
        del lines[0]  # "Here are five sections:"
    for line in lines:
        yield _MARKER.sub("", _unbold(line).lstrip("# "), count=1)


def _marked(line: str) -> bool:
    return _MARKER.match(_unbold(line).lstrip("# ")) is not None


def _json_strings(text: str) -> list[str] | None:
    """Return the strings of a JSON array; None if `text` is not an array of strings."""
    if not text.startswith("["):
        return None
    try:
        items = cast("list[object]", json.loads(text))  # it can only be an array
    except (ValueError, RecursionError):
        return None
    strings = [item for item in items if isinstance(item, str)]
    return strings if len(strings) == len(items) else None


def _unbold(line: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"\1", line)


def _bare(line: str) -> str:
    """Return a line without heading marks, bold, and quotation marks around the whole line."""
    line = _unbold(line.strip()).lstrip("#").strip()
    while len(line) > 1 and _QUOTES.get(line[0]) == line[-1]:
        inner = line[1:-1]
        if line[0] in inner or line[-1] in inner:
            break  # '"Now" and "then"' is not one quotation
        line = inner.strip()
    return "" if line in _QUOTES else line
