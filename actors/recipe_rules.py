"""What each field of a recipe and its steps may hold, and the error that says it does not."""

import math
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Protocol, cast

from .shape import SHAPES
from .template import TemplateError, names_used

__all__ = [
    "RECIPE_FIELDS",
    "STEP_FIELDS",
    "Fault",
    "RecipeError",
    "check_fields",
    "check_template",
    "is_name",
    "meant",
]


class RecipeError(ValueError):
    """A recipe that cannot be used. Its text says where the fault is and what to do about it.

    Attributes:
        problem: what is wrong, without the place.
        recipe: the recipe's file or, if it was not read from one, its name.
        step: the name of the step at fault, or "#3" for the third if it has none.
        field: the field at fault.
    """

    def __init__(
        self, problem: str, *, recipe: str, step: str | None = None, field: str | None = None
    ) -> None:
        place = f"recipe {recipe}"
        if step is not None:
            place += f", step {step}"
        if field is not None:
            place += f", field {field}"
        super().__init__(f"{place}: {problem}")
        self.problem = problem
        self.recipe = recipe
        self.step = step
        self.field = field


class Fault(Protocol):
    """`RecipeError` with the place filled in, as far as it is known."""

    def __call__(self, problem: str, *, field: str) -> RecipeError: ...  # noqa: D102 - see above


# What a template finds besides results, the post's own members, and Jinja's name for a template.
_RESERVED = frozenset({"topic", "item", "index", "markdown", "stats", "self"})


def is_name(value: object) -> bool:
    """Whether a step can have this name: a template must be able to look it up."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        return False
    try:  # Jinja's own words ("true", "range", "not") can never be looked up
        return value not in _RESERVED and value in names_used(f"{{{{ {value} }}}}")
    except TemplateError:
        return False


def _is_recipe_name(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", value))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_temperature(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and 0 <= value <= 2  # noqa: PLR2004 - the range of the API


def _is_shape(value: object) -> bool:
    return value in SHAPES


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_text, cast("tuple[object, ...]", value)))


def _none_or(test: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or test(value)


_Rules = Mapping[str, tuple[Callable[[object], bool], str]]  # {field: (test, what it must be)}

RECIPE_FIELDS: _Rules = {
    "name": (_is_recipe_name, 'a name of letters, digits, "_" and "-"'),
    "model": (_is_text, "the name of a model"),
    "max_tokens": (_is_count, "a whole number, at least 1"),
    "temperature": (_none_or(_is_temperature), "a number from 0 to 2"),
    "system": (_none_or(_is_text), "a text that is not empty"),
    "markdown": (_none_or(_is_text), "a template that is not empty"),
}
STEP_FIELDS: _Rules = {
    "name": (
        is_name,
        'a name of letters, digits and "_", and none of Jinja\'s own words nor of '
        + ", ".join(sorted(_RESERVED)),
    ),
    "prompt": (_is_text, "a template that is not empty"),
    "needs": (_are_texts, "a list of names of steps"),
    "optional": (_is_flag, "true or false"),
    "for_each": (_none_or(_is_text), "the name of a step"),
    "first": (_none_or(_is_count), "a whole number, at least 1"),
    "shape": (_is_shape, f"one of {', '.join(SHAPES)}"),
    "model": (_none_or(_is_text), "the name of a model"),
    "max_tokens": (_none_or(_is_count), "a whole number, at least 1"),
}


def check_fields(part: object, rules: _Rules, fault: Fault) -> None:
    """Hold every field of a recipe or a step against its rule.

    Raises:
        RecipeError: for the first field that breaks it.
    """
    for field, (test, wanted) in rules.items():
        value: object = getattr(part, field)
        if not test(value):
            raise fault(f"must be {wanted}, not {reprlib.repr(value)}", field=field)


def check_template(source: str, known: set[str], fault: Fault, *, field: str, remedy: str) -> None:
    """Refuse a template that does not parse, or that uses a name it will not find.

    Raises:
        RecipeError: either is so.
    """
    try:
        unknown = sorted(names_used(source) - known)
    except TemplateError as error:
        raise fault(str(error), field=field) from None
    if unknown:
        raise fault(
            f'"{unknown[0]}" is not known here{meant(unknown[0], known)}; known are '
            f"{', '.join(sorted(known))}{remedy}",
            field=field,
        )


def meant(name: str, known: Iterable[str]) -> str:
    """A question about the known name that is most like an unknown one, if any is."""
    return "".join(f', did you mean "{near}"?' for near in get_close_matches(name, known, n=1))
