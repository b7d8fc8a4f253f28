"""The shapes of a step's answer, and how a model's text is read as one of them.

Models number what was asked for plain, quote titles, and introduce lists. What is read here is
what they were asked for, without such trimmings.
"""

import json
import re
from collections.abc import Iterator
from typing import Literal, cast

__all__ = [
    "SHAPES",
    "EmptyAnswer",
    "StepResult",
    "StepShape",
    "read_answer",
]


StepShape = Literal["text", "line", "list"]
SHAPES: tuple[StepShape, ...] = ("text", "line", "list")

StepResult = str | tuple[str, ...]
"""What an answer is read as: one text, or the items of a list."""

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


class EmptyAnswer(ValueError):
    """A line or a list was asked for, and the answer holds none."""


def read_answer(shape: StepShape, text: str) -> StepResult:
    """Read a model's answer as what its step asked for.

    Args:
        shape: "text" is the whole answer without white space at its ends, which may be nothing;
            "line" is its first line with anything on it; "list" is one item a line, or a line
            with commas, or a JSON array of strings. Lines and items lose heading marks,
            numbering, bold and the quotation marks around them.
        text: what the model wrote.

    Raises:
        EmptyAnswer: there is no line, or no item.
    """
    if shape == "text":
        return text.strip()
    if shape == "line":
        for line in map(_bare, _lines(text)):
            if line:
                return line
        raise EmptyAnswer("the answer is empty; a line was asked for")
    items = tuple(item for item in map(_bare, _items(text)) if item)
    if not items:
        raise EmptyAnswer("the answer is empty; a list was asked for")
    return items


def _lines(text: str) -> list[str]:
    """The lines that say something."""
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
    """The strings of a JSON array; None if `text` is none, or holds anything else."""
    if not text.startswith("["):
        return None
    try:
        items = cast("list[object]", json.loads(text))  # a text that starts so is nothing else
    except (ValueError, RecursionError):
        return None
    strings = [item for item in items if isinstance(item, str)]
    return strings if len(strings) == len(items) else None


def _unbold(line: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"\1", line)


def _bare(line: str) -> str:
    """A line without heading marks, bold, and the quotation marks around the whole of it."""
    line = _unbold(line.strip()).lstrip("#").strip()
    while len(line) > 1 and _QUOTES.get(line[0]) == line[-1]:
        inner = line[1:-1]
        if line[0] in inner or line[-1] in inner:
            break  # '"Now" and "then"' is not one quotation
        line = inner.strip()
    return "" if line in _QUOTES else line
