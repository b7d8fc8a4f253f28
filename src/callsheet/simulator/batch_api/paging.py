"""Pages of a list, newest first."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, TypeVar

import attrs

from ..jsontext import Json

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
