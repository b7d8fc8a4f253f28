"""Build the request of a row from the row and the settings of the input."""

from collections.abc import Callable
from typing import Any

import attrs

from ...actors import ChatMessage, Request, Task
from .errors import BadRecord
from .settings import ReadSettings

_ALIKE = tuple(field.name for field in attrs.fields(Request) if field.name != "messages")
_Alike = tuple[tuple[str, object], ...]


def ignore_remark(_: str) -> None:
    """Drop a remark."""


_MAX_TEMPLATES = 256  # then the cache is cleared: the rows differ in a seed, for example


class RequestBuilder:
    """Builds requests with the defaults of an input.

    Most rows differ only in their messages. Their common fields are validated once, by `Request`,
    and only their messages each time, by `ChatMessage`. This halves the cost of a row.

    Args:
        settings: the settings of the input.
        on_remark: called once with a sentence, if a row gets the usual model.
    """

    def __init__(
        self, settings: ReadSettings, on_remark: Callable[[str], None] = ignore_remark
    ) -> None:
        self._model = settings.model
        self._chat_model = settings.chat_model
        self._on_remark: Callable[[str], None] | None = on_remark
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
        self._returns = settings.returns
        self._templates: dict[object, _Alike] = {}  # {fields without messages: all fields}

    def request(self, task: Task, fields: dict[str, Any]) -> Request:
        """Build the request of a row.

        Args:
            task: the task of the request.
            fields: the fields of a `Request` that the row sets, with valid types.

        Raises:
            BadRecord: a field is out of range, or there is no model; the text names the field.
        """
        if "model" not in fields:
            fields["model"] = self._default_model(task)
        if task in ("chat", "completion") and self._defaults:
            fields = self._defaults | fields
        messages: tuple[ChatMessage, ...] = fields.get("messages", ())
        if not messages or "extra_body" in fields or "json_schema" in fields:
            return self._made(task, fields)
        del fields["messages"]
        common = tuple(fields.items())
        alike = self._templates.get(common)
        if alike is not None:
            return _chat(messages, alike)
        request = self._made(task, {**fields, "messages": messages})
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        self._templates[common] = tuple((name, getattr(request, name)) for name in _ALIKE)
        return request

    def _default_model(self, task: Task) -> str:
        if self._model is not None:
            return self._model
        if task == "embedding" or self._chat_model is None:
            kind = " of embeddings" if task == "embedding" else ""
            reason = f"the row has no model; name a model{kind} for such rows (--model)"
            raise BadRecord(reason, is_misfit=True)
        if self._on_remark is not None:
            self._on_remark(f"Rows that name no model use {self._chat_model} (see --model).")
            self._on_remark = None
        return self._chat_model

    def _made(self, task: Task, fields: dict[str, Any]) -> Request:
        if self._returns is not None:
            if task != "chat":
                raise BadRecord(f"a schema is for chats, and the row is an {task}")
            fields = {**fields, "returns": self._returns}
        try:
            return Request(task=task, **fields, **self._always)
        except (ValueError, TypeError) as error:
            raise BadRecord(str(error.args[0])) from None


def _chat(messages: tuple[ChatMessage, ...], alike: "_Alike") -> Request:
    """Build a chat from validated messages and fields that were validated before."""
    request = Request.__new__(Request)
    put = object.__setattr__  # it is frozen
    put(request, "messages", messages)
    for name, value in alike:
        put(request, name, value)
    return request
