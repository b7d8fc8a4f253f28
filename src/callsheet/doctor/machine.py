"""Examine this machine: what is installed, and whether files can be written where they are kept."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import attrs

from ..wording import printable
from .finding import Finding

_INSTALLATION = "Installation"
_PACKAGE = "callsheet"
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*(?:;(?P<marker>.*))?")
_EXTRA = re.compile(r"extra == ['\"](?P<extra>[\w.-]+)['\"]")
_BEFORE = re.compile(r"python_version < ['\"](?P<major>\d+)\.(?P<minor>\d+)['\"]")
_FEW_FILES = 1024  # each call in flight needs one

_DISK = "Disk"
_MB = 1_000_000
_LEAST_MB, _LITTLE_MB = 100, 1_000


@attrs.frozen
class _Requirement:
    name: str
    extra: str  # "" for what is always needed


def examine_installation() -> Iterator[Finding]:
    """Yield the versions of what is installed, and the extras that are not."""
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    try:
        required = list(_requirements(metadata.requires(_PACKAGE) or []))
        version = metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        yield Finding(
            _INSTALLATION,
            _PACKAGE,
            "problem",
            f"is not installed; {python}",
            "in the clone: uv sync",
        )
        return
    yield Finding(_INSTALLATION, _PACKAGE, "ok", f"{version}; {python}")
    base = [one.name for one in required if not one.extra]
    found = {name: _version(name) for name in base}
    known = ", ".join(f"{name} {each}" for name, each in found.items() if each)
    yield Finding(_INSTALLATION, "packages", "ok", known)
    if missing := [name for name, each in found.items() if not each]:
        yield Finding(
            _INSTALLATION, "packages", "problem", f"missing: {', '.join(missing)}", "uv sync"
        )
    for extra in metadata.metadata(_PACKAGE).get_all("Provides-Extra") or []:
        names = [one.name for one in required if one.extra == extra]
        if names:
            yield _extra(extra, names)
    yield from _open_files()


def _requirements(lines: list[str]) -> Iterator[_Requirement]:
    """Yield the packages that this Python needs, and those of extras."""
    for line in lines:
        found = _REQUIREMENT.match(line)
        if found is None or found["name"].lower() == _PACKAGE:  # an extra made of other extras
            continue
        marker = found["marker"] or ""
        before = _BEFORE.search(marker)
        if before and sys.version_info >= (int(before["major"]), int(before["minor"])):
            continue
        extra = _EXTRA.search(marker)
        yield _Requirement(found["name"], extra["extra"] if extra else "")


def _extra(extra: str, names: list[str]) -> Finding:
    versions = {name: _version(name) for name in names}
    if missing := [name for name, version in versions.items() if not version]:
        text = f"not installed: {', '.join(missing)}"
        return Finding(_INSTALLATION, extra, "absent", text, f"uv sync --inexact --extra {extra}")
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Finding(_INSTALLATION, extra, "ok", text)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _open_files() -> Iterator[Finding]:
    try:
        import resource  # noqa: PLC0415  # not on Windows
    except ModuleNotFoundError:  # pragma: no cover
        return
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= _FEW_FILES:
        yield Finding(_INSTALLATION, "open files", "ok", "enough are allowed")
        return
    text = f"{allowed:,} are allowed, which limits the calls in flight"
    yield Finding(_INSTALLATION, "open files", "note", text, f"ulimit -n {_FEW_FILES * 4}")


# ------------------------------------------------------------------------------------------- disk


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
        return Finding(_DISK, place.name, "problem", f"{shown}: {reason}", remedy)
    if not exists and not is_folder:
        text = f"{shown}: {printable(str(base))} is no folder"
        return Finding(_DISK, place.name, "problem", text, remedy)
    if not os.access(base, os.W_OK | (os.X_OK if is_folder else 0)):
        text = f"{shown}: {'' if exists else f'{printable(str(base))} '}cannot be written"
        remedy = " or ".join(filter(None, ("change its permissions, or its owner", remedy)))
        return Finding(_DISK, place.name, "problem", text, remedy)
    text = f"{shown}{'' if exists else ' (not there yet)'}, {_room(free_mb)} free"
    if free_mb < _LEAST_MB:
        return Finding(_DISK, place.name, "problem", text, "make room on this disk")
    if free_mb < _LITTLE_MB:
        return Finding(_DISK, place.name, "note", text, "a large run may need more room")
    return Finding(_DISK, place.name, "ok", text)


def _room(mb: int) -> str:
    return f"{mb:,} MB" if mb < _LITTLE_MB else f"{mb / _LITTLE_MB:,.0f} GB"
