"""JSON, server-sent events, pages of lists, and times, as the vendors write them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import Generic, TypeVar

import attrs
from starlette.responses import Response

JSON = "application/json"

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def compact(value: Mapping[str, Json] | Sequence[Mapping[str, Json]]) -> bytes:
    """Return the bytes of a response body."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8",
        "replace",  # a lone surrogate, which a client can send escaped, cannot be encoded
    )


class JsonResponse(Response):
    """A response with JSON, in the form in which the vendors send it."""

    media_type = JSON

    def render(self, content: Mapping[str, Json] | Sequence[Mapping[str, Json]]) -> bytes:
        """Return the bytes of the body."""
        return compact(content)


def canonical(value: Json | Sequence[Mapping[str, Json]]) -> str:
    """Return the same text for equal values, whatever the order of their members."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


DONE = b"data: [DONE]\n\n"
"""The end mark of OpenAI's streams; Anthropic's have none."""


def event(value: Mapping[str, Json], *, named: bool = False) -> bytes:
    """Format one event: a line of data and a blank line.

    Args:
        value: the data of the event, as JSON.
        named: True to put a line with the event's name, the data's "type", before it.
    """
    name = f"event: {value['type']}\n".encode() if named else b""
    return name + b"data: " + compact(value) + b"\n\n"


def pieces_of(text: str, most: int) -> list[str]:
    """Split a text into whole words for a stream, in at most `most` pieces."""
    words = text.split(" ")
    number = min(most, len(words))
    ends = [len(words) * i // number for i in range(number + 1)]
    pieces = [" ".join(words[start:end]) for start, end in pairwise(ends)]
    return [piece if i == 0 else f" {piece}" for i, piece in enumerate(pieces)]


MS_PER_S = 1000
# Rounding of floats: a wait below a microsecond counts as none.
INSTANT_S = 1e-6


def go_duration(seconds: float) -> str:
    """Format a duration as Go does, truncated to milliseconds: "120ms", "8.64s", "6m0s"."""
    total_ms = int(seconds * MS_PER_S + INSTANT_S)
    if total_ms < MS_PER_S:
        return f"{total_ms}ms" if total_ms else "0s"
    total_s, ms = divmod(total_ms, MS_PER_S)
    minutes, s = divmod(total_s, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{ms:03}".rstrip("0") if ms else ""
    return (
        f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{s}{fraction}s"
    )


def rfc3339(seconds: float) -> str:
    """Format a time, given in seconds since 1970, truncated to seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


T = TypeVar("T")


@attrs.frozen
class ListPage(Generic[T]):
    """A page of a list.

    Args:
        items: the items on this page.
        has_more: True if more items follow; for a page found with `before`, if more precede it.
    """

    items: list[T]
    has_more: bool

    def as_json(self, ident: Callable[[T], str], shown: Callable[[T], Json]) -> dict[str, Json]:
        """Return the page as JSON, in the format of both vendors."""
        ids = [ident(item) for item in self.items]
        return {
            "data": [shown(item) for item in self.items],
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": self.has_more,
        }


def page_of(
    items: Iterable[T], limit: int, *, after: T | None = None, before: T | None = None
) -> ListPage[T]:
    """Return a page of a list.

    Args:
        items: the items of the whole list.
        limit: the maximum number of items of the page.
        after: the item before the page.
        before: the item after the page, if `after` is None.
    """
    found = list(items)
    if after is not None:
        found = found[found.index(after) + 1 :]
    elif before is not None:
        found = found[: found.index(before)]
        return ListPage(found[-limit:], len(found) > limit)
    return ListPage(list(islice(found, limit)), len(found) > limit)
