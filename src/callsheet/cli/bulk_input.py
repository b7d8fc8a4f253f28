"""Reads requests in the shape of OpenAI's batches, one a line."""

import contextlib
import hashlib
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import attrs
import orjson

from ..actors import ChatMessage, Request
from ..bulk import BadRow, Row

__all__ = ["InputError", "ReadSettings", "open_rows"]


class InputError(Exception):
    """Nothing of the input can be read."""


@attrs.frozen(kw_only=True)
class ReadSettings:
    """How an input is read.

    Args:
        model: for rows that name none.
    """

    model: str | None = None


@contextlib.contextmanager
def open_rows(source: str | Path, settings: ReadSettings) -> Generator[Iterator[Row | BadRow]]:
    """The rows of an input.

    Raises:
        InputError: it cannot be opened.
    """
    if str(source) == "-":
        yield _rows(sys.stdin.buffer, settings)
        return
    with contextlib.ExitStack() as stack:
        try:
            lines = stack.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error.strerror}") from None
        yield _rows(lines, settings)


def _rows(lines: BinaryIO, settings: ReadSettings) -> Iterator[Row | BadRow]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _row(number, cast("Any", orjson.loads(line)), settings)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            text = line[:200].decode(errors="replace")
            yield BadRow(number=number, reason=f"it is no request: {error}", text=text)


def _row(number: int, given: Any, settings: ReadSettings) -> Row:  # noqa: ANN401  # JSON
    body = dict(given["body"])
    request = Request(
        model=body.pop("model", settings.model),
        messages=[ChatMessage(turn["role"], turn["content"]) for turn in body.pop("messages")],
        max_tokens=body.pop("max_tokens", None),
        extra=body,
    )
    canonical = orjson.dumps([given["custom_id"], given["body"]], option=orjson.OPT_SORT_KEYS)
    return Row(
        number=number,
        custom_id=given["custom_id"],
        request=request,
        key=hashlib.blake2b(canonical, digest_size=16).digest(),
        url=given["url"],
    )
