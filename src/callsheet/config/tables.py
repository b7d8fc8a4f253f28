"""Read values of attrs classes from the tables of a TOML file. Pure.

The annotations of a class say which values its fields take, so that a setting that a class gets
later can be set in a file at once. The class itself checks what its annotations do not say.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import attrs

from .document import ConfigError

T = TypeVar("T")

_MOST_DIGITS = 15  # of a number; more is a mistake
_SHOWN = 60  # characters of a value in an error
_RELATIONS = {">": "above", ">=": "at least", "<": "below", "<=": "at most"}
_OF_ATTRS = re.compile(r"must be (>=|<=|>|<) (\S+): (.*)", re.DOTALL)
_FIELD = re.compile(
    r"'?(?P<field>[a-z_0-9]+)(?P<place>\[.*?\])?'?:? (?P<problem>(?!and |or ).*)", re.DOTALL
)


def read_table(
    kind: type[T], table: object, field: str, folder: Path, *, is_named: bool = False
) -> T:
    """Return a value of an attrs class with the members of a table.

    Args:
        kind: the class, whose annotations say which values its fields take.
        table: the table; another value is refused.
        field: the path of the table in the file, such as ``limits``.
        folder: what relative paths in the file are relative to.
        is_named: whether the file chooses the name of the table, such as that of a model.

    Raises:
        ConfigError: a member is unknown, has the wrong type or is out of its range.
    """
    hints = settable_fields(kind)
    members = as_table(table, field)
    if is_named:
        _check_dots(members, hints, field)
    check_names(members, hints, field)
    for name, one in attrs.fields_dict(cast("type[attrs.AttrsInstance]", kind)).items():
        if one.default is attrs.NOTHING and name not in members and one.init:
            raise ConfigError("is missing; add it", field=join(field, name))
    values = {
        name: read_value(hints[name], value, join(field, name), folder)
        for name, value in members.items()
    }
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise explained(error, field, values) from None


def read_value(hint: object, value: object, field: str, folder: Path) -> object:
    """Return a value as an annotation requires it.

    Args:
        hint: the annotation of the field.
        value: the value in the file.
        field: its path in the file.
        folder: what relative paths are relative to.

    Raises:
        ConfigError: it is another kind of value.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _optional([one for one in arguments if one is not NoneType], value, field, folder)
    if origin is Literal:
        if value not in arguments:
            raise _wrong(f"one of {', '.join(map(str, arguments))}", value, field)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong("an array", value, field)
        each = enumerate(cast("list[object]", value), 1)
        return tuple(read_value(arguments[0], one, f"{field}[{at}]", folder) for at, one in each)
    if origin is not None:
        return _named_values(arguments[1], as_table(value, field), field, folder)
    if isinstance(hint, type) and attrs.has(hint):
        return read_table(cast("type[object]", hint), value, field, folder)
    wanted, convert = _SCALARS[cast("type[object]", hint)]
    found = convert(value)
    if found is None:
        raise _wrong(wanted, value, field)
    return folder / cast("Path", found).expanduser() if hint is Path else found


def settable_fields(kind: type[object]) -> Mapping[str, object]:
    """Return the fields of an attrs class that a file can set, with their annotations.

    Args:
        kind: the class, whose annotations can be resolved.
    """
    fields = attrs.fields_dict(cast("type[attrs.AttrsInstance]", kind))
    hints = get_type_hints(kind)
    return {
        name: _PLAIN.get((kind.__name__, name), hints[name])
        for name, field in fields.items()
        if field.init and ((kind.__name__, name) in _PLAIN or _is_settable(hints[name]))
    }


def is_scalar(hint: object) -> bool:
    """Return whether a value is a number, a text or a truth value, so that a variable can have it.

    Args:
        hint: the annotation of the field.
    """
    inner = [one for one in get_args(hint) if one is not NoneType]
    if get_origin(hint) in (Union, UnionType):
        return all(map(is_scalar, inner))
    return get_origin(hint) is Literal or hint in _SCALARS


def as_table(value: object, field: str) -> Mapping[str, object]:
    """Return a value that is a table.

    Args:
        value: the value in the file.
        field: its path in the file.

    Raises:
        ConfigError: it is none.
    """
    if not is_table(value):
        raise _wrong("a table", value, field)
    return cast("dict[str, object]", value)


def is_table(value: object) -> bool:
    """Return whether a value is a table.

    Args:
        value: a value of a TOML file.
    """
    return isinstance(value, dict)


def check_names(members: Iterable[str], known: Iterable[str], field: str) -> None:
    """Check that all members of a table are known.

    Args:
        members: the names of the members.
        known: the names that a table may have.
        field: the path of the table in the file; "" for the whole file.

    Raises:
        ConfigError: one is not; the text suggests a similar one, and lists all.
    """
    known = tuple(known)
    for name in members:
        if name in known:
            continue
        near = nearest(name, known)
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"is unknown{hint} (known: {', '.join(known)})", field=join(field, name))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name that another one is probably meant to be; None if none is like it.

    Args:
        name: what a file has, in capital letters or not.
        known: the names that it may have, in small letters.
    """
    return next(iter(get_close_matches(name.lower(), known, 1)), None)


def join(field: str, name: str) -> str:
    """Return the path of a member, such as ``limits.rpm``.

    Args:
        field: the path of its table; "" for the whole file.
        name: the name of the member.
    """
    shown = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
    return f"{field}.{shown}" if field else shown


def _named_values(
    hint: object, members: Mapping[str, object], field: str, folder: Path
) -> Mapping[str, object]:
    """Read the members of a table whose names are those of models, headers and so on."""
    kind = cast("type[object]", hint)
    is_table_each = attrs.has(kind)
    return {
        name: read_table(kind, one, join(field, name), folder, is_named=True)
        if is_table_each
        else read_value(hint, one, join(field, name), folder)
        for name, one in members.items()
    }


def _check_dots(members: Iterable[str], known: Iterable[str], field: str) -> None:
    """Refuse a name such as gpt-5.4-nano without quotes, which TOML divides at its dot."""
    for name in members:
        if name not in known and name[:1].isdigit():
            whole = f"{field.rpartition('.')[2]}.{name}"
            problem = f'is unknown; a name with a dot needs quotes: "{whole}"'
            raise ConfigError(problem, field=join(field, name))


# ------------------------------------------------------------------------------- values


def _optional(kinds: list[object], value: object, field: str, folder: Path) -> object:
    """Read a value that may be left out: False turns a policy off, and True is its default."""
    (kind, *others) = kinds
    is_policy = isinstance(kind, type) and attrs.has(kind)
    if is_policy and not is_table(value):
        has_default = _has_default(cast("type[object]", kind))
        if not isinstance(value, bool) or (value and not has_default):
            raise _wrong(f"a table{', true' if has_default else ''} or false", value, field)
        return cast("type[object]", kind)() if value else None
    return read_value(float if others else kind, value, field, folder)


def _has_default(kind: type[object]) -> bool:
    fields = attrs.fields_dict(cast("type[attrs.AttrsInstance]", kind)).values()
    return all(one.default is not attrs.NOTHING for one in fields if one.init)


def _is_settable(hint: object) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType, tuple):
        return all(_is_settable(one) for one in arguments if one not in (NoneType, ...))
    if origin is Literal:
        return True
    if origin is not None:
        return len(arguments) == 2 and arguments[0] is str and _is_settable(arguments[1])  # noqa: PLR2004  # a mapping
    return isinstance(hint, type) and (hint in _SCALARS or attrs.has(hint))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _path(value: object) -> Path | None:
    return Path(value) if isinstance(value, str) and value else None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return cast("int", value) if is_whole and abs(cast("int", value)) < 10**_MOST_DIGITS else None


def _number(value: object) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = value if isinstance(value, int) else float(value)
    return number if isfinite(number) and abs(number) < 10**_MOST_DIGITS else None


def _amount(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return None


_SCALARS: Mapping[type[object], tuple[str, Callable[[object], object]]] = {
    bool: ("true or false", _truth),
    int: ("a whole number", _whole),
    float: ("a number", _number),
    str: ("a text", _text),
    Path: ("a path", _path),
    Decimal: ("an amount in USD", _amount),
    object: ("a value", lambda value: value),  # which is read later
}

# {(class, field): what a file has for it, where the class converts it}
_PLAIN: Mapping[tuple[str, str], object] = {("BatchApiPolicy", "dialect"): str | None}


# ------------------------------------------------------------------------------- errors


def shown(value: object) -> str:
    """Return a value for an error, as TOML writes it.

    Args:
        value: a value of a TOML file.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "an array"
    is_plain = isinstance(value, int | Decimal | date | time)
    text = str(value) if is_plain else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _wrong(wanted: str, value: object, field: str) -> ConfigError:
    return ConfigError(f"must be {wanted}, got {shown(value)}", field=field)


def explained(error: Exception, field: str, values: Mapping[str, object]) -> ConfigError:
    """Return an error of an attrs class, whose text begins with the name of a field.

    Args:
        error: the error of a validator or a converter.
        field: the path of the table that the class was made of.
        values: the fields that the table may set, by name.
    """
    text = str(error)
    found = _FIELD.match(text)
    if found is None or found["field"] not in values:
        return ConfigError(text, field=field)
    problem = found["problem"]
    if relation := _OF_ATTRS.match(problem):
        problem = f"must be {_RELATIONS[relation[1]]} {relation[2]}, got {relation[3]}"
    return ConfigError(problem, field=join(field, found["field"]) + (found["place"] or ""))
