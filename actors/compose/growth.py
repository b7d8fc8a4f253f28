"""How large the result of a filter or a method in a template may become. Pure (R14).

Some make a large value from small ones: `center` from a width, `replace` and `join` from several
uses of one text, `string` from a list that has one text many times. Their size is estimated before
they run, because afterwards the memory is taken.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sized
from typing import cast

Arguments = Mapping[str, object]
_WIDE = re.compile(r"\d{7,}")  # a width or a precision in a format
_DEEP = 100  # levels of lists in lists


def text_size(value: object, most: int, depth: int = 0) -> int:
    """Return the characters of a value as text, at least, or some number above `most`.

    Args:
        value: a text, or lists and objects of texts.
        most: the size from which it need not be exact.
        depth: the level of the value in lists.
    """
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        items: Collection[object] = cast("Mapping[object, object]", value).items()
    elif isinstance(value, list | tuple | set | frozenset):
        items = cast("Collection[object]", value)
    else:
        return 0
    if depth > _DEEP:
        return most + 1
    size, known = 0, dict[int, int]()  # {id of an item: its size}
    for item in items:
        if (found := known.get(id(item))) is None:
            found = known[id(item)] = text_size(item, most, depth + 1)
        size += found + 2
        if size > most:
            break
    return size


def method_size(owner: object, name: str, args: tuple[object, ...], named: Arguments) -> int:
    """Return the size of the result of a method, or 0 where it cannot be large.

    Args:
        owner: the value whose method it is.
        name: of the method.
        args: its positional arguments.
        named: its named arguments.
    """
    given = (*args, *named.values())
    if isinstance(owner, int) and name == "to_bytes":
        return max(map(_number, given), default=0)
    estimate = _METHODS.get(name)
    if estimate is None or not given or not isinstance(owner, str | bytes):
        return 0
    return estimate(owner, given)


def format_size(form: object, values: object) -> int:
    """Return the size of what `%` makes of a format and values.

    Args:
        form: the left side.
        values: the right side.
    """
    if not isinstance(form, str | bytes):
        return 0
    several = cast("tuple[object, ...]", values if isinstance(values, tuple) else (values,))
    return _formatted(form, several, nested="*")


def _number(value: object) -> int:
    return abs(value) if isinstance(value, int) else 0


def _length(value: object) -> int:
    return len(cast("Sized", value)) if isinstance(value, str | bytes | list | tuple) else 0


def _replaced(text: object, old: object, new: object) -> int:
    whole, part = str(text), str(old)
    return len(whole) + whole.count(part) * _length(new)


def _joined(values: object, between: object) -> int:
    if not isinstance(values, Collection):
        return 0
    several = cast("Collection[object]", values)
    return sum(map(_length, several)) + len(several) * _length(between)


def _formatted(form: str | bytes, values: tuple[object, ...], *, nested: str) -> int:
    text = form if isinstance(form, str) else form.decode(errors="replace")
    wide = [int(number[:18]) for number in _WIDE.findall(text)]
    wide += map(_number, values) if nested in text.replace(" ", "") else ()
    pieces = text.count("%") + text.count("{")
    return max((0, *wide)) + pieces * max(map(_length, values), default=0)


def _indented(value: object, given: Arguments) -> int:
    text, width = str(value), given.get("width", 4)
    return len(text) + (text.count("\n") + 1) * (_number(width) or _length(width))


def _wrapped(value: object, given: Arguments) -> int:
    width = max(1, _number(given.get("width", 79)))
    return len(str(value)) * (1 + _length(given.get("wrapstring")) // width)


def _filled(_: object, given: Arguments) -> int:
    return _number(given.get("linecount")) if given.get("fill_with") is not None else 0


def _translated(text: str | bytes, given: tuple[object, ...]) -> int:
    table = given[0]
    if not isinstance(table, Mapping):
        return 0
    values = cast("Mapping[object, object]", table).values()
    return len(text) * max(map(_length, values), default=0)


_METHODS: Mapping[str, Callable[[str | bytes, tuple[object, ...]], int]] = {
    "center": lambda _, given: _number(given[0]),
    "expandtabs": lambda text, given: len(text) * _number(given[0]),
    "format": lambda text, given: _formatted(text, given, nested=":{"),
    "format_map": lambda text, given: _formatted(text, given, nested=":{"),
    "join": lambda text, given: _joined(given[0], text),
    "ljust": lambda _, given: _number(given[0]),
    "replace": lambda text, given: _replaced(text, given[0], given[-1]),
    "rjust": lambda _, given: _number(given[0]),
    "translate": _translated,
    "zfill": lambda _, given: _number(given[0]),
}
GROWING: Mapping[str, Callable[[object, Arguments], int]] = {
    "batch": _filled,
    "center": lambda _, given: _number(given.get("width")),
    "format": lambda value, given: format_size(
        str(value), (*cast("tuple[object, ...]", given.get("args", ())), given.get("kwargs"))
    ),
    "indent": _indented,
    "join": lambda value, given: _joined(value, given.get("d")),
    "replace": lambda value, given: _replaced(value, given.get("old"), given.get("new")),
    "round": lambda _, given: _number(given.get("precision")),
    "slice": lambda _, given: _number(given.get("slices")),
    "tojson": lambda value, given: _number(given.get("indent")) * len(str(value)[:1000]),
    "urlize": lambda value, given: (
        str(value).count(".") * (_length(given.get("rel")) + _length(given.get("target")))
    ),
    "wordwrap": _wrapped,
}
"""{filter: the size of its result, from the value and its arguments by name}"""

TEXTS = frozenset(
    {
        *("capitalize", "center", "e", "escape", "forceescape", "format", "indent", "join"),
        *("lower", "pprint", "quoted", "replace", "safe", "string", "striptags", "title"),
        *("tojson", "trim", "truncate", "upper", "urlencode", "urlize", "wordcount", "wordwrap"),
    }
)
"""Filters that make a text of any value."""
