"""A range that something is drawn from, as settings have it."""

import attrs

__all__ = ["Range", "is_range"]

Range = tuple[float, float]


def is_range(_: object, field: "attrs.Attribute[Range]", value: Range) -> None:
    """Raise `ValueError` unless the range begins at 0 or above and ends at or above that."""
    low, high = value
    if not 0 <= low <= high:
        raise ValueError(f"{field.name} must be 0 <= low <= high, got {low} to {high}")
