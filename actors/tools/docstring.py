"""Read the descriptions in a docstring of Google's, NumPy's or Sphinx's style. Pure (R14)."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

_GOOGLE = re.compile(r"(?:Args|Arguments|Parameters|Params|Keyword Args|Other Parameters):\s*")
_NUMPY = ("Parameters", "Other Parameters")
_SPHINX = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+([^:]*?)(\w+):\s*(.*)")
_SPHINX_FIELD = re.compile(r":[a-z]+[^:]*:")
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?:\s*(.*)")
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
_UNDERLINE = re.compile(r"-{3,}\s*")


@attrs.frozen
class Docstring:
    """What a docstring says to a model.

    Args:
        summary: its first paragraph, on one line; empty if there is none.
        parameters: the description of each parameter that has one, on one line.
    """

    summary: str
    parameters: Mapping[str, str]


def read_docstring(text: str | None) -> Docstring:
    """Read a docstring.

    Args:
        text: the docstring; None if there is none.
    """
    lines = inspect.cleandoc(text or "").splitlines()
    found: dict[str, list[str]] = {}
    for read in (_google, _numpy, _sphinx):
        for name, words in read(lines):
            found.setdefault(name.lstrip("*"), words)
    described = {name: joined for name, words in found.items() if (joined := _joined(words))}
    return Docstring(_joined(_summary(lines)), described)


def _summary(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if not line.strip() or _GOOGLE.fullmatch(line) or _SPHINX_FIELD.match(line):
            return
        yield line


def _joined(lines: Iterator[str] | Sequence[str]) -> str:
    return " ".join(" ".join(lines).split())


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


_Entries = Iterator[tuple[str, list[str]]]


def _google(lines: Sequence[str]) -> _Entries:
    """Read the entries under a title, which are indented; their further lines are so once more."""
    for at, line in enumerate(lines):
        if _GOOGLE.fullmatch(line):
            section = _indented(lines[at + 1 :], _indent(line))
            yield from _entries(section, _GOOGLE_ENTRY)


def _indented(lines: Sequence[str], than: int) -> Iterator[str]:
    for line in lines:
        if line.strip() and _indent(line) <= than:
            return
        yield line


def _entries(lines: Iterator[str], pattern: re.Pattern[str]) -> _Entries:
    """Read entries of the same indentation: names, and the text on their line and below."""
    margin: int | None = None
    names, words = "", list[str]()
    for line in lines:
        if not line.strip():
            continue
        margin = _indent(line) if margin is None else margin
        if _indent(line) > margin:
            words.append(line)
            continue
        yield from ((name, words) for name in _names(names))
        match = pattern.fullmatch(line.strip())
        names, words = ("", []) if match is None else (match[1], [*match.groups()[1:2]])
    yield from ((name, words) for name in _names(names))


def _names(names: str) -> list[str]:
    return re.findall(r"\w+", names)


def _numpy(lines: Sequence[str]) -> _Entries:
    """Read the entries under an underlined title; their descriptions are indented."""
    for at, line in enumerate(lines[:-1]):
        if line.strip() in _NUMPY and _UNDERLINE.fullmatch(lines[at + 1].strip()):
            yield from _entries(_to_next_title(lines[at + 2 :]), _NUMPY_ENTRY)


def _to_next_title(lines: Sequence[str]) -> Iterator[str]:
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if _UNDERLINE.fullmatch(following.strip()):
            return
        yield line


def _sphinx(lines: Sequence[str]) -> _Entries:
    """Read the fields; their further lines are indented."""
    for at, line in enumerate(lines):
        if match := _SPHINX.fullmatch(line.strip()):
            yield match[2], [match[3], *_indented(lines[at + 1 :], _indent(line))]
