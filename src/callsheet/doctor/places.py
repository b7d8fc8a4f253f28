"""Examine the disk: whether files can be written where they are kept, and whether there is room."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from ..wording import printable
from .finding import Finding

_SECTION = "Disk"
_MB = 1_000_000
_LEAST_MB, _LITTLE_MB = 100, 1_000


@attrs.frozen
class WrittenPlace:
    """A file or a folder that Callsheet writes.

    Args:
        name: what it is, such as "ledger".
        path: where it is; it need not exist.
        chosen_by: what gives it another place, such as "CALLSHEET_LEDGER=FILE"; "" for nothing.
    """

    name: str
    path: Path
    chosen_by: str = ""


def examine_places(places: Iterable[WrittenPlace]) -> Iterator[Finding]:
    """Yield whether places can be written, and how much room there is. Nothing is written.

    Args:
        places: the files and folders.
    """
    for place in places:
        yield _examined(place)


def _examined(place: WrittenPlace) -> Finding:
    shown = printable(str(place.path))
    remedy = f"give another place: {place.chosen_by}" if place.chosen_by else ""
    try:
        exists = place.path.exists()
        base = next(one for one in (place.path, *place.path.absolute().parents) if one.exists())
        is_folder = base.is_dir()
        free_mb = shutil.disk_usage(base).free // _MB
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return Finding(_SECTION, place.name, "problem", f"{shown}: {reason}", remedy)
    if not exists and not is_folder:
        text = f"{shown}: {printable(str(base))} is no folder"
        return Finding(_SECTION, place.name, "problem", text, remedy)
    if not os.access(base, os.W_OK | (os.X_OK if is_folder else 0)):
        text = f"{shown}: {'' if exists else f'{printable(str(base))} '}cannot be written"
        remedy = " or ".join(filter(None, ("change its permissions, or its owner", remedy)))
        return Finding(_SECTION, place.name, "problem", text, remedy)
    text = f"{shown}{'' if exists else ' (not there yet)'}, {_room(free_mb)} free"
    if free_mb < _LEAST_MB:
        return Finding(_SECTION, place.name, "problem", text, "make room on this disk")
    if free_mb < _LITTLE_MB:
        return Finding(_SECTION, place.name, "note", text, "a large run may need more room")
    return Finding(_SECTION, place.name, "ok", text)


def _room(mb: int) -> str:
    return f"{mb:,} MB" if mb < _LITTLE_MB else f"{mb / _LITTLE_MB:,.0f} GB"
