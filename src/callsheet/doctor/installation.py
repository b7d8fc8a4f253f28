"""Examine what is installed: versions, packages, optional packages, and how many files are open."""

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

import attrs

from .finding import Finding

_SECTION = "Installation"
_PACKAGE = "callsheet"
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*(?:;(?P<marker>.*))?")
_EXTRA = re.compile(r"extra == ['\"](?P<extra>[\w.-]+)['\"]")
_BEFORE = re.compile(r"python_version < ['\"](?P<major>\d+)\.(?P<minor>\d+)['\"]")
_FEW_FILES = 1024  # each call in flight needs one


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
            _SECTION, _PACKAGE, "problem", f"is not installed; {python}", "in the clone: uv sync"
        )
        return
    yield Finding(_SECTION, _PACKAGE, "ok", f"{version}; {python}")
    base = [one.name for one in required if not one.extra]
    found = {name: _version(name) for name in base}
    known = ", ".join(f"{name} {each}" for name, each in found.items() if each)
    yield Finding(_SECTION, "packages", "ok", known)
    if missing := [name for name, each in found.items() if not each]:
        yield Finding(_SECTION, "packages", "problem", f"missing: {', '.join(missing)}", "uv sync")
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
        return Finding(_SECTION, extra, "absent", text, f"uv sync --extra {extra}")
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Finding(_SECTION, extra, "ok", text)


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
        yield Finding(_SECTION, "open files", "ok", "enough are allowed")
        return
    text = f"{allowed:,} are allowed, which limits the calls in flight"
    yield Finding(_SECTION, "open files", "note", text, f"ulimit -n {_FEW_FILES * 4}")
