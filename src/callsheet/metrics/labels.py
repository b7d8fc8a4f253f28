"""The values that labels can have. Pure (R14).

A label never has a value that a caller or a provider can choose freely: each value is a series that
Prometheus keeps. What is not in a closed set becomes `OTHER`. No URL, key or text is ever a value.
"""

import re
from collections.abc import Callable, Collection, Iterable
from typing import final

import attrs

_GENERATION = re.compile(r"#\d+(?=\W|$)")

OTHER = "other"
"""The value of a label for everything that is not in its closed set."""

ROUTES = frozenset(
    {
        *("live", "flex", "priority", "batch", "list", "pack", "joined", "cache"),
        *(
            f"{form}+{route}"
            for form in ("list", "pack")
            for route in ("flex", "priority", "batch")
        ),
    }
)
"""The routes of the library's own stages; see `Response.route`."""


@final
@attrs.define
class BoundedLabels:
    """Maps names to label values, of which there are only so many.

    A name that is known gets a value of its own the first time, as long as there is room. It keeps
    it, so that its series goes on.

    Args:
        is_known: whether a name may have a value of its own.
        most: the most values besides `OTHER`.
        reserved: names that have their value from the start, whether or not they are known.

    A value is text that UTF-8 can encode, whatever the name.
    """

    is_known: Callable[[str], bool]
    most: int
    reserved: Iterable[str] = ()
    _values: dict[str, str] = attrs.field(factory=dict[str, str], init=False)

    def __attrs_post_init__(self) -> None:
        self.reserve(self.reserved)

    def reserve(self, names: Iterable[str]) -> None:
        """Give names values of their own, whether or not they are known and there is room.

        Args:
            names: few names, which a program chooses and not its callers.
        """
        self._values.update((name, _encodable(name)) for name in names)

    def __call__(self, name: str) -> str:
        """Return the value for a name.

        Args:
            name: any name, such as the model that a caller asks for.
        """
        value = self._values.get(name)
        if value is not None:
            return value
        if len(self._values) >= self.most or not self.is_known(name):
            return OTHER
        value = self._values[name] = _encodable(name)
        return value


def _encodable(name: str) -> str:
    """Return a name with "?" for each lone surrogate: one of them would fail every scrape."""
    return name.encode("utf-8", "replace").decode()


def without_generation(name: str) -> str:
    """Return the name of a troupe, or of one of its actors, without the number of its generation.

    Args:
        name: such as "main#2" or "main#2.limiter": the second troupe of the name "main".
    """
    return _GENERATION.sub("", name)


def one_of(known: Collection[str], value: str) -> str:
    """Return a value if it is in a closed set, else `OTHER`.

    Args:
        known: all members of the closed set.
        value: the value that may be in it.
    """
    return value if value in known else OTHER


def error_label(error: BaseException | None, known: Collection[str]) -> str:
    """Return the name of the nearest class of an error that is in a closed set, else `OTHER`.

    Args:
        error: the error; None for one that is not reported.
        known: names of classes.
    """
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((name for name in names if name in known), OTHER)


def period_label(seconds: float) -> str:
    """Return the value for the period of a limit: "minute", "hour", "day" or the seconds.

    Args:
        seconds: the period in seconds.
    """
    usual = {1.0: "second", 60.0: "minute", 3_600.0: "hour", 86_400.0: "day"}
    return usual.get(seconds) or one_of(_PERIODS, f"{seconds:g}s")


_PERIODS = frozenset({"10s", "15s", "30s", "300s", "600s", "604800s", "2592000s"})
