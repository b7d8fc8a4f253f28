"""Read rate limits from a TOML file, which may be changed during a run."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import attrs

from ...actors import Limits, why_not_read


class LimitsOfFile(TypedDict, total=False):
    """Rate limits in a limits file.

    Args:
        rpm: requests per minute.
        tpm: tokens per minute.
        max_concurrency: the most calls in flight.
        burst_s: seconds of unused limit that may be used at once.
    """

    rpm: float
    tpm: float
    max_concurrency: int
    burst_s: float


class LimitsFile(LimitsOfFile, total=False):
    """A limits file of `callsheet run --limits`. An absent limit is that of the command.

    Args:
        models: the limits of single models, by name; a "*" stands for any end of the name.
    """

    models: Mapping[str, LimitsOfFile]


_NAMES = {  # {name in the file: name in `Limits`}
    "rpm": "rpm",
    "tpm": "tpm",
    "max_concurrency": "in_flight",
    "burst_s": "burst_s",
}

_MOST = 10**15
_KINDS: dict[type, str] = {
    bool: "true or false",
    dict: "a table",
    float: "a fraction",
    int: "a number",
    list: "an array",
    str: "a text",
}


def read_limits(path: Path, usual: Limits) -> Limits:
    """Read a limits file with members such as ``rpm = 500``.

    The table ``[models]`` may have a table of limits for each model.

    Args:
        path: the path of the file.
        usual: the limits to keep where the file has no value.

    Raises:
        ValueError: the file cannot be read, or has a wrong value; the text names both.
    """
    try:
        table: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {why_not_read(error)}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply for a limits file") from None
    except ValueError as error:  # a zero byte in the path, or Python's limit of 4,300 digits
        reason = "it has a number of too many digits" if "digits" in str(error) else error
        raise ValueError(f"{path} cannot be read: {reason}") from None
    try:
        models = _table("models", table.pop("models", {}))
        named = {
            name: _limits(_table(f"the limits of {name}", values), Limits())
            for name, values in models.items()
        }
        return attrs.evolve(_limits(table, usual), models={**usual.models, **named})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _table(name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a table, not {_kind(value)}")
    return cast("dict[str, object]", value)


def _limits(table: Mapping[str, object], usual: Limits) -> Limits:
    given: dict[str, Any] = {}
    for name, value in table.items():
        if name not in _NAMES:
            raise ValueError(f"unknown member {name!r}; known are {', '.join(_NAMES)} and [models]")
        given[_NAMES[name]] = _number(name, value)
    return attrs.evolve(usual, **given)


def _number(name: str, value: object) -> float:
    """Return a value that is a number: whole for a number of calls, and finite.

    Raises:
        TypeError, ValueError: the value is something else; the text names the member.
    """
    is_whole = name == "max_concurrency"
    wanted = "a whole number" if is_whole else "a number"
    if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float):
        raise TypeError(f"{name} must be {wanted}, not {_kind(value)}")
    if not abs(value) <= _MOST:
        raise ValueError(f"{name} must be a number of at most {_MOST:,}")
    return value


def _kind(value: object) -> str:
    """Name the kind of a value of TOML."""
    return _KINDS.get(type(value), "a date or a time")
