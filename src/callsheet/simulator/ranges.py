"""Validators for settings: ranges of random values, and shares from 0 to 1."""

import attrs

Range = tuple[float, float]


def is_range(_: object, field: "attrs.Attribute[Range]", value: Range) -> None:
    """Raise `ValueError` unless 0 <= low <= high."""
    low, high = value
    if not 0 <= low <= high:
        raise ValueError(f"{field.name} must be 0 <= low <= high, got {low} to {high}")


def is_share(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    """Raise `ValueError` unless the value is between 0 and 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{field.name} must be between 0 and 1, got {value}")
