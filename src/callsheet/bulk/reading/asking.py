"""Makes the request of a row out of what the row says and what is set for all."""

from typing import Any

import attrs

from ...actors import ChatMessage, Request, Task
from .errors import BadRecord
from .settings import ReadSettings

__all__ = ["RequestBuilder"]

_ALIKE = tuple(field.name for field in attrs.fields(Request) if field.name != "messages")
_Alike = tuple[tuple[str, object], ...]

_LIKES = 256  # more of them are begun anew: rows that differ in a seed, say


class RequestBuilder:
    """Makes requests with the defaults of an input.

    Rows are mostly like each other in all but their turns. What they have in common is validated
    once, by `Request`, and their turns each time, by `ChatMessage`: that is half the cost of a row.

    Args:
        settings: of the input.
    """

    def __init__(self, settings: ReadSettings) -> None:
        self._model = settings.model
        self._defaults: dict[str, Any] = {
            name: value
            for name in ("max_tokens", "temperature")
            if (value := getattr(settings, name)) is not None
        }
        self._always: dict[str, Any] = {
            name: value
            for name in ("cacheable", "packable", "deadline")
            if (value := getattr(settings, name))
        }
        self._likes: dict[object, _Alike] = {}  # by what a chat sets but its turns: all its fields

    def request(self, task: Task, fields: dict[str, Any]) -> Request:
        """The request of a row.

        Args:
            task: of it.
            fields: those of a `Request` that the row sets, of their types.

        Raises:
            BadRecord: a field is out of its range, or there is no model; names the field.
        """
        if "model" not in fields:
            if self._model is None:
                raise BadRecord("it names no model; give one for such rows (--model)")
            fields["model"] = self._model
        if task != "embedding" and self._defaults:
            fields = self._defaults | fields
        turns: tuple[ChatMessage, ...] = fields.get("messages", ())
        if not turns or "extra_body" in fields or "json_schema" in fields:
            return self._made(task, fields)
        del fields["messages"]
        common = tuple(fields.items())
        alike = self._likes.get(common)
        if alike is not None:
            return _chat(turns, alike)
        request = self._made(task, {**fields, "messages": turns})
        if len(self._likes) >= _LIKES:
            self._likes.clear()
        self._likes[common] = tuple((name, getattr(request, name)) for name in _ALIKE)
        return request

    def _made(self, task: Task, fields: dict[str, Any]) -> Request:
        try:
            return Request(task=task, **fields, **self._always)
        except (ValueError, TypeError) as error:
            raise BadRecord(str(error.args[0])) from None


def _chat(turns: tuple[ChatMessage, ...], alike: "_Alike") -> Request:
    """A chat of some turns, each of them validated, with fields that were."""
    request = Request.__new__(Request)
    put = object.__setattr__  # it is frozen
    put(request, "messages", turns)
    for name, value in alike:
        put(request, name, value)
    return request
