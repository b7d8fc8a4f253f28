"""Write posts to stdout, to one file, or to a file each in a folder, as soon as they are ready."""

import re
import sys
import unicodedata
from pathlib import Path
from typing import Protocol, TextIO

import click

_NAME_CHARS = 60


class PostOutput(Protocol):
    """Writes posts one by one, in the order of the topics."""

    @property
    def is_screen(self) -> bool:
        """Whether the output is a terminal."""
        ...

    def write(self, topic: str, text: str) -> None:
        """Write one post. It is in the file, or on the terminal, when this returns.

        Args:
            topic: the topic, which names the file in a folder.
            text: the post.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class _Stream:
    """Writes all posts to one stream."""

    def __init__(self, stream: TextIO, separator: str, *, is_stdout: bool) -> None:
        self._stream = stream
        self._is_stdout = is_stdout
        self._separator = separator
        self._is_first = True

    @property
    def is_screen(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def write(self, topic: str, text: str) -> None:  # noqa: ARG002  # the text contains it
        """Append a post and flush."""
        if not self._is_first:
            self._stream.write(self._separator)
        self._is_first = False
        self._stream.write(text if text.endswith("\n") else f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file; stdout stays open."""
        if not self._is_stdout:
            self._stream.close()


class _Folder:
    """Writes each post to a file that is named after its topic."""

    def __init__(self, folder: Path, suffix: str) -> None:
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
        (self._folder / f"{name}{self._suffix}").write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Do nothing, because no file is open."""


def open_output(path: str | None, *, suffix: str, separator: str) -> PostOutput:
    """Open the output, before any call is paid for.

    Args:
        path: a file; or a folder, if it exists as one or ends with a slash; None for stdout.
        suffix: the suffix of the files in a folder.
        separator: the text between two posts in one file.

    Raises:
        click.UsageError: the path cannot be written; the message has the reason.
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
    """Make a portable file name: "Why backpressure matters" becomes why-backpressure-matters."""
    plain = unicodedata.normalize("NFKD", topic).casefold()
    words = re.findall(r"\w+", plain)
    return "-".join(words)[:_NAME_CHARS].rstrip("-") or "post"
