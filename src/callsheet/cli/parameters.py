"""The types of option values that click lacks: choices that suggest, finite numbers, names."""

import re
from difflib import get_close_matches
from math import isfinite
from typing import Any

import click
from click.types import StringParamType

from ..actors import Endpoint

__all__ = ["ABOVE_ZERO", "FiniteRange", "Header", "Name", "SuggestingChoice"]


class SuggestingChoice(click.Choice[str]):
    """One of several texts. The error of another one suggests the most similar one."""

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """Return the message of click, with a suggestion in front of it."""
        message = super().get_invalid_choice_message(value, ctx)
        near = get_close_matches(str(value).lower(), self.choices, 1)
        return f"Did you mean {near[0]!r}? {message}" if near else message


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)")
_UNITS_S = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
}


class FiniteRange(click.FloatRange):
    """A number in a range. NaN and infinity are refused, which `click.FloatRange` accepts."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Convert a value to a finite number.

        Raises:
            click.BadParameter: the value is no number, not finite, or out of the range.
        """
        given: object = value
        if isinstance(given, str) and (fault := _fault(given, param)):
            self.fail(fault, param, ctx)
        number: float = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def _fault(value: str, param: click.Parameter | None) -> str:
    """Return why a text is no number, with the number if it is a duration; "" if it is one."""
    try:
        float(value)
    except ValueError:
        pass
    else:
        return ""
    if param is None or param.metavar != "SECONDS":
        return f"{value!r} is not a number."
    found = _DURATION.fullmatch(value.strip().lower())
    unit_s = None if found is None else _UNITS_S.get(found[2])
    if found is None or unit_s is None:
        return f"{value!r} is not a number of seconds."
    return f"{value!r} is not a number of seconds; write {float(found[1]) * unit_s:.15g}."


class Name(StringParamType):
    """A text without the spaces around it, which may not be empty."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Remove the spaces around a text.

        Raises:
            click.BadParameter: nothing is left.
        """
        text = super().convert(value, param, ctx).strip()
        if not text:
            self.fail("the name is empty.", param, ctx)
        return text


class Header(StringParamType):
    """A header as NAME=VALUE. Its errors do not show the value, which may be secret (L8)."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401  # a name and a value, where click expects a text
        """Return the name in lower case, and the value.

        Raises:
            click.BadParameter: it has no name or no value, or cannot be sent.
        """
        name, _, content = super().convert(value, param, ctx).partition("=")
        name, content = name.strip().lower(), content.strip()
        if not (name and content):
            self.fail("a header is written NAME=VALUE.", param, ctx)
        try:
            Endpoint("http://provider/v1", headers={name: content})
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return name, content


ABOVE_ZERO = FiniteRange(0, min_open=True)
"""A finite number above 0."""
