"""Validators of the provider's settings, whose errors are written for the caller."""

import operator
from collections.abc import Callable, Collection, Iterable
from typing import Any, cast

import attrs

FieldCheck = Callable[[object, "attrs.Attribute[Any]", Any], None]

_WORDS: dict[type[object], str] = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
}


def number(
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> FieldCheck:
    """Return a validator of a number within bounds, each of which may be None for no bound.

    Args:
        above: the number that it must be above.
        least: the smallest number that it may be.
        most: the largest number that it may be.
        below: the number that it must be below.
        whole: whether it must be a whole number.
    """
    kinds: tuple[type[int | float], ...] = (int,) if whole else (int, float)
    wanted = "a whole number" if whole else "a number"
    bounds = [
        (sign, holds, bound)
        for sign, holds, bound in (
            (">", operator.gt, above),
            (">=", operator.ge, least),
            ("<", operator.lt, below),
            ("<=", operator.le, most),
        )
        if bound is not None
    ]

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError(f"{field.alias} must be {wanted}, not {value!r:.60}")
        for sign, holds, bound in bounds:
            if not holds(value, bound):
                raise ValueError(f"'{field.alias}' must be {sign} {bound}: {value}")

    return check


is_share = number(least=0, most=1)


def is_range(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """Refuse what is not a pair of numbers with 0 <= low <= high.

    Args:
        field: the field that has the value.
        value: the smallest and the largest number.
    """
    try:
        low, high = cast("tuple[float, float]", value)
        is_right = 0 <= low <= high
    except (TypeError, ValueError):
        raise TypeError(f"{field.alias} must be two numbers, not {value!r:.60}") from None
    if not is_right:
        raise ValueError(f"{field.alias} must be 0 <= low <= high, got {low} to {high}")


def one_of(options: Collection[str]) -> FieldCheck:
    """Return a validator of a text that is one of several.

    Args:
        options: the texts that are accepted.
    """

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if value not in tuple(options):
            known = ", ".join(map(repr, options))
            raise ValueError(f"{field.alias} must be one of {known}, not {value!r:.60}")

    return check


def instance_of(kind: type[object]) -> FieldCheck:
    """Return a validator of instances of a class.

    Args:
        kind: the class to accept.
    """
    wanted = _WORDS.get(kind) or f"a {kind.__name__}"

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{field.alias} must be {wanted}, not {value!r:.60}")

    return check


def some_text(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """Refuse what is not a text, or is empty.

    Args:
        field: the field that has the value.
        value: what stands for the text.
    """
    instance_of(str)(None, field, value)
    if not value:
        raise ValueError(f"{field.alias} must not be empty")


def texts(value: Iterable[str], name: str) -> tuple[str, ...]:
    """Return the texts of a list. A text is refused: its characters are never what was meant.

    Args:
        value: any iterable but a text.
        name: the name of the setting, for the error.

    Raises:
        TypeError: it is no list of texts.
    """
    if isinstance(value, str) or not isinstance(cast("object", value), Iterable):
        raise TypeError(f"{name} must be a list, not {value!r:.60}")
    found = tuple(value)
    for at, one in enumerate(found):
        if not isinstance(one, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f"{name}[{at}] must be a string, not {one!r:.60}")
    return found
