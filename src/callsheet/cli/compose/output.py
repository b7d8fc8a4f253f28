"""Where results go: stdout, a file, or a file each in a folder. Nothing written is lost later."""

import re
import sys
import unicodedata
from pathlib import Path
from typing import Protocol, TextIO

import click

__all__ = [
    "PostOutput",
    "open_output",
]


_NAME_CHARS = 60


class PostOutput(Protocol):
    """Takes results one by one, in the order of the topics."""

    @property
    def is_screen(self) -> bool:
        """Whether a person watches what is written."""
        ...

    def write(self, topic: str, text: str) -> None:
        """Write one result; it is there when this returns."""
        ...

    def close(self) -> None:
        """No more will come."""
        ...


class _Stream:
    """All of them one after another."""

    def __init__(self, stream: TextIO, separator: str, *, is_stdout: bool) -> None:
        self._stream = stream
        self._is_stdout = is_stdout
        self._separator = separator
        self._is_first = True

    @property
    def is_screen(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def write(self, topic: str, text: str) -> None:  # noqa: ARG002  # the text names it
        """Append it and flush."""
        if not self._is_first:
            self._stream.write(self._separator)
        self._is_first = False
        self._stream.write(text if text.endswith("\n") else f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Close it, unless it is stdout."""
        if not self._is_stdout:
            self._stream.close()


class _Folder:
    """One file for each, named by its topic."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix
        self._names: set[str] = set()
        self.is_screen = False

    def write(self, topic: str, text: str) -> None:
        """Write its file."""
        stem = name = _file_stem(topic)
        number = 1
        while name in self._names:  # two topics may come to the same name
            number += 1
            name = f"{stem}-{number}"
        self._names.add(name)
        (self._folder / f"{name}{self._suffix}").write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Nothing is open."""


def open_output(path: str | None, *, suffix: str, separator: str) -> PostOutput:
    """Open it before anything is spent on what goes into it.

    Args:
        path: a file; or a folder, if it is one or ends with a slash; None is stdout.
        suffix: of the files in a folder.
        separator: what stands between two results in one file.

    Raises:
        click.UsageError: it cannot be written; the message says why.
    """
    if path is None:
        return _Stream(sys.stdout, separator, is_stdout=True)
    target = Path(path)
    try:
        if path.endswith(("/", "\\")) or target.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            return _Folder(target, suffix)
        return _Stream(target.open("w", encoding="utf-8"), separator, is_stdout=False)
    except OSError as error:
        raise click.UsageError(f"--output: cannot write {path}: {error.strerror}") from None


def _file_stem(topic: str) -> str:
    """A file name that any system takes: "Why backpressure matters" is why-backpressure-matters."""
    plain = unicodedata.normalize("NFKD", topic).casefold()
    words = re.findall(r"\w+", plain)
    return "-".join(words)[:_NAME_CHARS].rstrip("-") or "post"
