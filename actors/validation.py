"""Validators for attrs whose errors are written for the caller.

Errors of those of attrs have a tuple as their text, do not say which item of a list is wrong, and
say nothing about the field where they compare a number with a text.
"""

import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import attrs

from .json_value import kind_of

ValueT = TypeVar("ValueT")

# As attrs declares its own: the field is an attribute of any class.
Validator = Callable[[Any, "attrs.Attribute[ValueT]", ValueT], None]

_WORDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


@overload
def instance_of(types: type[ValueT]) -> Validator[ValueT]: ...


@overload
def instance_of(types: tuple[type, ...]) -> Validator[Any]: ...


def instance_of(types: type[Any] | tuple[type, ...]) -> Validator[Any]:
    """Return a validator that accepts the instances of a class, or of one of several.

    True and False are no numbers, although `bool` extends `int`.

    Args:
        types: the class or the classes to accept.
    """
    several = types if isinstance(types, tuple) else (types,)
    named = [one for one in several if one is not int or float not in several]
    wanted = " or ".join(_WORDS.get(one) or _with_article(one.__name__) for one in named)
    is_number = bool not in several and (int in several or float in several)

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, several) or (is_number and isinstance(value, bool)):
            raise TypeError(f"{field.alias} must be {wanted}, not {kind_of(value)}")

    return check


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


def has(*members: str, wanted: str) -> Validator[Any]:
    """Return a validator that accepts the objects which have members, whatever their class.

    Args:
        members: the names of the members.
        wanted: what such an object is, for the error.
    """

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, type) or not all(hasattr(value, name) for name in members):
            raise TypeError(f"{field.alias} must be {wanted}, not {kind_of(value)}")

    return check


def in_(options: Collection[ValueT]) -> Validator[ValueT]:
    """Return a validator that accepts some values.

    Args:
        options: the values that are accepted.
    """

    def check(_: object, field: "attrs.Attribute[ValueT]", value: ValueT) -> None:
        try:
            is_valid = value in options
        except TypeError:  # a set takes only what has a hash
            is_valid = False
        if not is_valid:
            known = ", ".join(map(repr, options))
            raise ValueError(f"{field.alias} must be one of {known}, not {kind_of(value)}")

    return check


def gt(bound: ValueT) -> Validator[ValueT]:
    """Return a validator that accepts what is above a number.

    Args:
        bound: the number to compare with.
    """
    return _compared(">", operator.gt, bound)


def ge(bound: ValueT) -> Validator[ValueT]:
    """Return a validator that accepts a number and what is above it.

    Args:
        bound: the number to compare with.
    """
    return _compared(">=", operator.ge, bound)


def lt(bound: ValueT) -> Validator[ValueT]:
    """Return a validator that accepts what is below a number.

    Args:
        bound: the number to compare with.
    """
    return _compared("<", operator.lt, bound)


def le(bound: ValueT) -> Validator[ValueT]:
    """Return a validator that accepts a number and what is below it.

    Args:
        bound: the number to compare with.
    """
    return _compared("<=", operator.le, bound)


def _compared(sign: str, holds: Callable[[Any, Any], bool], bound: ValueT) -> Validator[ValueT]:
    def check(_: object, field: "attrs.Attribute[ValueT]", value: ValueT) -> None:
        try:
            is_valid = not isinstance(value, bool) and holds(value, bound)
        except (TypeError, ArithmeticError):  # a Decimal may be a NaN that cannot be compared
            raise TypeError(f"{field.alias} must be a number, not {kind_of(value)}") from None
        if isinstance(value, bool):
            raise TypeError(f"{field.alias} must be a number, not {kind_of(value)}")
        if not is_valid:
            found = kind_of(value) if isinstance(value, int) else value
            raise ValueError(f"'{field.alias}' must be {sign} {bound}: {found}")

    return check


def not_empty(
    owner: object,  # noqa: ARG001  # attrs passes it
    field: "attrs.Attribute[Any]",
    value: object,
) -> None:
    """Refuse a value without items or characters.

    Args:
        owner: the object that has the field.
        field: the field that has the value.
        value: a text, or a collection.
    """
    try:
        is_empty = not len(cast("Collection[object]", value))
    except TypeError:
        raise TypeError(f"{field.alias} must have a length, not {kind_of(value)}") from None
    if is_empty:
        raise ValueError(f"{field.alias} must not be empty")


def deep_iterable(member: Validator[Any]) -> Validator[Any]:
    """Return a validator of the items of a collection; its error says which item is wrong.

    Args:
        member: the validator of each item.
    """

    def check(owner: object, field: "attrs.Attribute[Any]", value: Iterable[object]) -> None:
        items = value if isinstance(value, tuple) else listed(value, str(field.alias))
        for at, one in enumerate(items):
            place = "" if isinstance(value, frozenset) else f"[{at}]"
            _check_at(place, member, owner, field, one)

    return check


def deep_mapping(key: Validator[Any], member: Validator[Any]) -> Validator[Any]:
    """Return a validator of the keys and values of a mapping; its error says where one is wrong.

    Args:
        key: the validator of each key.
        member: the validator of each value.
    """

    def check(owner: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, Mapping):
            raise TypeError(f"{field.alias} must be a mapping, not {kind_of(value)}")
        for name, one in cast("Mapping[object, object]", value).items():
            key(owner, field.evolve(alias=f"a key of {field.alias}"), name)
            _check_at(f"[{name!r:.60}]", member, owner, field, one)

    return check


def _check_at(
    place: str,
    member: Validator[Any],
    owner: object,
    field: "attrs.Attribute[Any]",
    value: object,
) -> None:
    """Check an item; only the error needs a field whose name has the place."""
    try:
        member(owner, field, value)
    except (TypeError, ValueError):
        member(owner, field.evolve(alias=f"{field.alias}{place}"), value)
        raise


def listed(value: Iterable[ValueT], name: str) -> tuple[ValueT, ...]:
    """Return the items of a list. A text is refused: its characters are never what was meant.

    Args:
        value: any iterable but a text, bytes or a mapping.
        name: the name of the field, for the error.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(cast("object", value), Iterable):
        raise TypeError(f"{name} must be a list, not {kind_of(cast('object', value))}")
    return tuple(value)


def as_path(value: str | PathLike[str] | None, name: str) -> Path | None:
    """Return a path, or None for None.

    Args:
        value: a text or a path.
        name: the name of the field, for the error.

    Raises:
        TypeError: it is something else.
    """
    if value is None or isinstance(value, Path):
        return value
    try:
        return Path(value)
    except TypeError:
        raise TypeError(f"{name} must be a path, not {kind_of(value)}") from None
