"""Read a JSON body in OpenAI's format as a `Request`."""

from collections.abc import Mapping

from ...actors import Json, Request, Task, kind_of
from .errors import BadRecord
from .members import (
    CHAT,
    COMPLETION,
    EMBEDDING,
    stated,
    take_limit_name,
    take_schema,
    take_system,
)
from .request_builder import RequestBuilder

_URLS: Mapping[Task, str] = {
    "chat": "/v1/chat/completions",
    "completion": "/v1/completions",
    "embedding": "/v1/embeddings",
}
_TASKS: Mapping[str, Task] = {
    path: task for task, url in _URLS.items() for path in (url, url.removeprefix("/v1"))
}
_KNOWN = {"chat": CHAT, "completion": COMPLETION, "embedding": EMBEDDING}
_NEEDED = {"chat": "messages", "completion": "prompt", "embedding": "input"}


def url_of(task: Task) -> str:
    """Return the path that OpenAI's batch files use for a task."""
    return _URLS[task]


def task_of_url(url: Json) -> Task:
    """Return the task of a path, with or without the version prefix.

    Raises:
        BadRecord: the path is unknown.
    """
    task = _TASKS.get(url) if isinstance(url, str) else None
    if task is None:
        raise BadRecord(f'"url" is {kind_of(url)}; it must be one of {", ".join(_URLS.values())}')
    return task


def task_of(body: Mapping[str, Json]) -> Task | None:
    """Return the task of a body, from the member that only this task has; None if it has none."""
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

    def request(self, task: Task, body: Mapping[str, Json]) -> Request:
        """Return the request of a body, such that the request sent is equivalent to it.

        Members without a field in `Request` go to `extra_body`. "stream" and its options are left
        out, because they do not change the response.

        Raises:
            BadRecord: the body is invalid; the text names the member.
        """
        fields, extra = stated(body, _KNOWN[task])
        extra.pop("stream", None)
        extra.pop("stream_options", None)
        if task == "chat":
            take_limit_name(fields, body)
            take_schema(fields, extra)
            take_system(fields, extra)
        if _NEEDED[task] == "messages":
            if "messages" not in fields:
                raise BadRecord('the body has no "messages"')
        elif "inputs" not in fields:
            raise BadRecord(f'the body has no "{_NEEDED[task]}"')
        if extra:
            fields["extra_body"] = extra
        return self._builder.request(task, fields)
