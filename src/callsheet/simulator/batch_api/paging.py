"""A page of a list, newest first."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, TypeVar

import attrs

from ..jsontext import Json

__all__ = [
    "ListPage",
    "page_of",
]


T = TypeVar("T")


@attrs.frozen
class ListPage(Generic[T]):
    """Some items of a list.

    Args:
        items: those.
        has_more: whether others follow them, or stand before them if the page was sought so.
    """

    items: list[T]
    has_more: bool

    def as_json(self, ident: Callable[[T], str], shown: Callable[[T], Json]) -> dict[str, Json]:
        """The page as both vendors have it."""
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
    """Find a page.

    Args:
        items: the list, in its order.
        limit: the most items of the page.
        after: the item that it comes next to.
        before: the item that it ends just before, where no `after` is given.
    """
    found = list(items)
    if after is not None:
        found = found[found.index(after) + 1 :]
    elif before is not None:
        found = found[: found.index(before)]
        return ListPage(found[-limit:], len(found) > limit)
    return ListPage(list(islice(found, limit)), len(found) > limit)
