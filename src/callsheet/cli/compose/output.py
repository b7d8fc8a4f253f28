"""Write posts to stdout, to one file, or to a file each in a folder, as soon as they are ready."""

import os
import re
import shutil
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TextIO

import click

from ...actors import why_not_written

_NAME_CHARS = 60


class PostOutput(Protocol):
    """Writes posts one by one, in the order of the topics."""

    @property
    def path(self) -> str | None:
        """The path of the file or folder; None for stdout."""
        ...

    @property
    def is_screen(self) -> bool:
        """Whether the output is a terminal."""
        ...

    def write(self, topic: str, text: str) -> None:
        """Write one post. It is in the file, or on the terminal, when this returns.

        Args:
            topic: the topic, which names the file in a folder.
            text: the post as Markdown or as one line of JSON.

        Raises:
            OSError: the post cannot be written.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class _Stream:
    """Writes all posts to stdout, to a device or to a pipe."""

    def __init__(self, stream: TextIO, separator: str, path: str | None) -> None:
        self.path = path
        self._stream = stream
        self._separator = separator
        self._is_first = True

    @property
    def is_screen(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def write(self, topic: str, text: str) -> None:  # noqa: ARG002  # the text contains it
        """Append a post and flush."""
        before = "" if self._is_first else self._separator
        self._is_first = False
        self._stream.write(before + _whole_lines(text))
        self._stream.flush()

    def close(self) -> None:
        """Close a device or a pipe; stdout stays open."""
        if self.path is not None:
            with suppress(OSError):  # `write` has raised it
                self._stream.close()


class _File:
    """Writes all posts to one file, which the first post creates or replaces."""

    def __init__(self, path: Path, separator: str) -> None:
        self.path = str(path)
        self._file = path
        self._separator = separator
        self._stream: TextIO | None = None
        self.is_screen = False

    def write(self, topic: str, text: str) -> None:  # noqa: ARG002  # the text contains it
        """Append a post and flush."""
        if self._stream is None:
            self._stream = _replaced(self._file, _whole_lines(text))
        else:
            self._stream.write(self._separator + _whole_lines(text))
            self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            with suppress(OSError):  # `write` has raised it
                self._stream.close()


class _Folder:
    """Writes each post to a file that is named after its topic."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.path = str(folder)
        self._folder = folder
        self._suffix = suffix
        self._names: set[str] = set()
        self.is_screen = False

    def write(self, topic: str, text: str) -> None:
        """Write the file of a post."""
        stem = name = _file_stem(topic)
        number = 1
        while name in self._names:  # two topics may have the same file name
            number += 1
            name = f"{stem}-{number}"
        self._names.add(name)
        self._folder.mkdir(parents=True, exist_ok=True)
        _replaced(self._folder / f"{name}{self._suffix}", text).close()

    def close(self) -> None:
        """Do nothing, because no file is open."""


def open_output(path: str | None, *, suffix: str, separator: str) -> PostOutput:
    """Check that the output can be written, before any call is paid for.

    A file is created, or replaced, when its first post is ready: a run that writes nothing leaves
    an existing file as it was, and no empty file.

    Args:
        path: a file; or a folder, if it exists as one or ends with a slash; None for stdout.
        suffix: the suffix of the files in a folder.
        separator: the text between two posts in one file.

    Raises:
        click.UsageError: the path cannot be written; the message has the reason.
        click.ClickException: stdout is closed.
    """
    if path is None:
        if not sys.stdout.writable():
            raise click.ClickException("stdout is closed; write to a file with --output")
        return _Stream(sys.stdout, separator, None)
    target = Path(path)
    try:
        if path.endswith(("/", "\\")) or target.is_dir():
            _check_folder(target)
            return _Folder(target, suffix)
        if target.exists() and not target.is_file():  # a device or a pipe
            return _Stream(target.open("w", encoding="utf-8"), separator, path)
        _check_file(target)
        return _File(target, separator)
    except OSError as error:
        why = why_not_written(error)
        raise click.UsageError(f"--output: cannot write {path}: {why}") from None


def _check_folder(folder: Path) -> None:
    """Raise `OSError` unless files can be created in the folder, or the folder itself can be."""
    while not folder.exists():
        folder = folder.parent
    _probe(folder / "post")


def _check_file(path: Path) -> None:
    """Raise `OSError` unless the file can be created or replaced."""
    if path.exists():
        path.open("a").close()
    _probe(Path(os.path.realpath(path)))


def _probe(path: Path) -> None:
    """Create the temporary file for a path, and remove it."""
    temporary = _temporary(path)
    temporary.open("x").close()
    temporary.unlink()


def _temporary(path: Path) -> Path:
    """Return the path of a file in the same folder, which another process does not use."""
    return path.with_name(f".callsheet-{os.getpid()}.tmp")


def _replaced(path: Path, text: str) -> TextIO:
    """Write a text to a file, instead of what is in it, and return the file to append to.

    The text is written to a temporary file first, which then takes the place of the old file. So
    the old file survives until the text is on disk.

    Raises:
        OSError: the text cannot be written.
    """
    path = Path(os.path.realpath(path))  # a symbolic link stays, and its target is replaced
    temporary = _temporary(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return path.open("a", encoding="utf-8")


def _whole_lines(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _file_stem(topic: str) -> str:
    """Make a portable file name: "Why backpressure matters" becomes why-backpressure-matters."""
    plain = unicodedata.normalize("NFKD", topic).casefold()
    words = re.findall(r"\w+", plain)
    return "-".join(words)[:_NAME_CHARS].rstrip("-") or "post"
