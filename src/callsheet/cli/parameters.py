"""The types of option values that click lacks: finite numbers, and names that are not blank."""

from math import isfinite
from typing import Any

import click
from click.types import StringParamType

__all__ = ["ABOVE_ZERO", "FiniteRange", "Name"]


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
        number: float = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


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


ABOVE_ZERO = FiniteRange(0, min_open=True)
"""A finite number above 0."""
