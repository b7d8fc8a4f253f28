"""Limits as a TOML table says them, for a run that goes on while they are changed."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..actors import Limits

__all__ = ["read_limits"]

_NAMES = {  # {as in the table: as in `Limits`}
    "rpm": "rpm",
    "tpm": "tpm",
    "max_concurrency": "in_flight",
    "burst_s": "burst_s",
}


def read_limits(path: Path, usual: Limits) -> Limits:
    """The limits of a file, such as ``rpm = 500``; a table in ``[models]`` is for that model.

    Args:
        path: of the file.
        usual: what holds where the file says nothing.

    Raises:
        ValueError: it cannot be read; the text names the file and what is wrong with it.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    models = table.pop("models", {})
    try:
        named = {name: _limits(values, Limits()) for name, values in dict(models).items()}
        return attrs.evolve(_limits(table, usual), models={**usual.models, **named})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _limits(table: Mapping[str, Any], usual: Limits) -> Limits:
    for name in table:
        if name not in _NAMES:
            raise ValueError(f"there is no {name!r}; there are {', '.join(_NAMES)} and [models]")
    return attrs.evolve(usual, **{_NAMES[name]: value for name, value in table.items()})
