"""Read a JSON body in OpenAI's format as a `Request`."""

from collections.abc import Mapping
from typing import Literal

from ...actors import Json, Request, Task, kind_of
from .errors import BadRecord
from .members import (
    CHAT,
    COMPLETION,
    EMBEDDING,
    MODERATION,
    RESPONSES,
    stated,
    take_limit_name,
    take_parts,
    take_schema,
    take_system,
)
from .request_builder import RequestBuilder

Shape = Task | Literal["responses"]
"""The shape of a body: that of a task, or of a chat that is sent to OpenAI's Responses."""

_URLS: Mapping[Shape, str] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "completion": "/v1/completions",
    "embedding": "/v1/embeddings",
    "moderation": "/v1/moderations",
}
_SHAPES: Mapping[str, Shape] = {
    path: shape for shape, url in _URLS.items() for path in (url, url.removeprefix("/v1"))
}
_MODERATIONS_MODEL = "omni-moderation-latest"
"""The model of moderations that name none, as OpenAI has it."""

_KNOWN = {
    "chat": CHAT,
    "responses": RESPONSES,
    "completion": COMPLETION,
    "embedding": EMBEDDING,
    "moderation": MODERATION,
}
_NEEDED = {
    "chat": "messages",
    "responses": "input",
    "completion": "prompt",
    "embedding": "input",
    "moderation": "input",
}


def url_of(shape: Shape) -> str:
    """Return the path that OpenAI's batch files use for a shape."""
    return _URLS[shape]


def shape_of_url(url: Json) -> Shape:
    """Return the shape of bodies for a path, with or without the version prefix.

    Raises:
        BadRecord: the path is unknown.
    """
    shape = _SHAPES.get(url) if isinstance(url, str) else None
    if shape is None:
        raise BadRecord(
            f'"url" is {kind_of(url)}; it must be one of {", ".join(_URLS.values())}',
            is_misfit=True,
        )
    return shape


def shape_of(body: Mapping[str, Json]) -> Shape | None:
    """Return the shape of a body by the member that only this one has; None if it has none."""
    if "messages" in body:
        return "chat"
    if "input" in body:
        return "embedding"
    return "completion" if "prompt" in body else None


class BodyReader:
    """Reads bodies as requests, with the defaults of the input.

    Args:
        builder: builds the requests.
    """

    def __init__(self, builder: RequestBuilder) -> None:
        self._builder = builder

    def request(self, shape: Shape, body: Mapping[str, Json]) -> Request:
        """Return the request of a body, such that the request sent is equivalent to it.

        Members without a field in `Request` go to `extra_body`. "stream" and its options are left
        out, because they do not change the response.

        Raises:
            BadRecord: the body is invalid; the text names the member.
        """
        fields, extra = stated(body, _KNOWN[shape])
        extra.pop("stream", None)
        extra.pop("stream_options", None)
        if shape == "chat":
            take_limit_name(fields, body)
            take_schema(fields, extra)
            take_system(fields, extra)
        elif shape == "responses":
            fields["api"] = "responses"
            extra.setdefault("store", None)  # what the body does not say is not said (L15)
        elif shape == "moderation":
            fields.setdefault("model", _MODERATIONS_MODEL)
            take_parts(body, extra)
        task: Task = "chat" if shape == "responses" else shape
        if ("messages" if task == "chat" else "inputs") not in fields:
            raise BadRecord(f'the body has no "{_NEEDED[shape]}"')
        if extra:
            fields["extra_body"] = extra
        return self._builder.request(task, fields)
