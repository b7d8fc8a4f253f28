"""Validators for attrs whose errors are written for the caller.

A `TypeError` of those of attrs has a tuple as its text, and they compare a number with a text
without a word about the field.
"""

import operator
from collections.abc import Callable, Collection
from typing import Any, TypeVar, overload

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

    Args:
        types: the class or the classes to accept.
    """
    several = types if isinstance(types, tuple) else (types,)
    named = [one for one in several if one is not int or float not in several]
    wanted = " or ".join(_WORDS.get(one) or _with_article(one.__name__) for one in named)

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, several):
            raise TypeError(f"{field.alias} must be {wanted}, not {kind_of(value)}")

    return check


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


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
            is_valid = holds(value, bound)
        except TypeError:
            raise TypeError(f"{field.alias} must be a number, not {kind_of(value)}") from None
        if not is_valid:
            raise ValueError(f"'{field.name}' must be {sign} {bound}: {value}")

    return check
