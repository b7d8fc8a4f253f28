"""Read rate limits from a TOML file, which may be changed during a run."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..actors import Limits

_NAMES = {  # {name in the file: name in `Limits`}
    "rpm": "rpm",
    "tpm": "tpm",
    "max_concurrency": "in_flight",
    "burst_s": "burst_s",
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
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    models = table.pop("models", {})
    try:
        named = {name: _limits(values, Limits()) for name, values in dict(models).items()}
        return attrs.evolve(_limits(table, usual), models={**usual.models, **named})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _limits(table: Mapping[str, Any], usual: Limits) -> Limits:
    for name in table:
        if name not in _NAMES:
            raise ValueError(f"unknown member {name!r}; known are {', '.join(_NAMES)} and [models]")
    return attrs.evolve(usual, **{_NAMES[name]: value for name, value in table.items()})
