"""Which files `callsheet run` may write beside OUTPUT: none that it, or anybody, still needs."""

from collections.abc import Mapping
from pathlib import Path

import click

__all__ = ["check_extra_files"]


def check_extra_files(extra: Mapping[str, Path | None], taken: Mapping[str, Path | None]) -> None:
    """Refuse before the run what could not be written in it, or would overwrite a file of it.

    Args:
        extra: files that the run writes because an option says so, by that option.
        taken: files that it reads, or writes anyway, by what they are called.

    Raises:
        click.UsageError: a folder is not there, or a file is another one of the run, too, by any
            spelling of its path or a link.
    """
    known = {name: path for name, path in taken.items() if path is not None}
    for option, path in extra.items():
        if path is None:
            continue
        if not path.resolve().parent.is_dir():
            raise click.UsageError(f"{option}: there is no folder {path.parent}")
        for name, other in known.items():
            if _is_same(path, other):
                raise click.UsageError(f"{option}: {path} is {name} already; name another file")
        known[option] = path


def _is_same(path: Path, other: Path) -> bool:
    if path.exists() and not path.is_file():  # a device or a pipe may be shared
        return False
    try:
        return path.samefile(other)
    except OSError:  # one of them is not there yet
        return path.resolve() == other.resolve()
