"""OpenAI's Batch API and similar ones: a batch is created from an uploaded file of lines."""

from collections.abc import Iterable

import attrs

from ..json_value import Json
from .batch_dialect import BatchPage, BatchView, ControlCall, LineError, LineResult, has_ended
from .decoding import count_of, dumps, object_of, parsed, read_error, read_object, text_of
from .format import ApiError, Malformed

_PAGE = "100"  # the most batches of one page
TAG = "callsheet"  # the member of the metadata that holds Callsheet's name of the batch
CHAT = "/chat/completions"
_PATHS = frozenset({CHAT, "/completions", "/embeddings", "/moderations", "/responses"})
OVER = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


@attrs.frozen(kw_only=True)
class OpenAIBatchDialect:
    """`POST /files`, `POST /batches`.

    A batch is identified by its file, from which no other batch is created.

    Args:
        name: the name in settings.
        purpose: the purpose that is sent with the file.
        upload_path: path of the upload.
        lines_have_url: whether each line contains its URL.
        has_metadata: whether a batch can have a tag.
        window: the completion window, in the provider's notation.
        window_s: the seconds of that window.
        max_requests: the most lines of one batch.
        max_bytes: the most bytes of one batch.
        max_inputs: the most texts to embed in one batch.
        paths: the paths of the requests that a batch may have.
    """

    name: str = "openai"
    purpose: str = "batch"
    upload_path: str = "/files"
    lines_have_url: bool = True
    has_metadata: bool = True
    window: str = "24h"
    window_s: float = 86_400.0
    max_requests: int = 50_000
    max_bytes: int = 200 * 1024 * 1024
    max_inputs: int = 50_000
    paths: frozenset[str] = _PATHS

    @property
    def is_certain(self) -> bool:
        """See `BatchDialect`."""
        return True

    def takes(self, path: str) -> bool:
        """See `BatchDialect`."""
        return path in self.paths

    def line(self, custom_id: str, path: str, body: bytes) -> bytes:
        """See `BatchDialect`."""
        named: dict[str, Json] = {"custom_id": custom_id}
        if self.lines_have_url:  # the path only, for any base URL
            named |= {"method": "POST", "url": f"/v1{path}"}
        head = dumps(named)
        return head[:-1] + b',"body":' + body + b"}"

    def join(self, lines: Iterable[bytes]) -> bytes:
        """See `BatchDialect`."""
        return b"".join(line + b"\n" for line in lines)

    def prepare(self, content: bytes) -> ControlCall:
        """See `BatchDialect`: upload the file."""
        form = {"purpose": self.purpose}
        if self.upload_path != "/files":
            form["file_name"] = "callsheet.jsonl"
        return ControlCall(method="POST", path=self.upload_path, form=form, upload=content)

    def read_mark(self, body: Json) -> str:
        """See `BatchDialect`: the id of the file."""
        mark = text_of(body, "id") if isinstance(body, dict) else ""
        if not mark:
            raise Malformed("the response to an upload has no file id")
        return mark

    def create(self, *, mark: str, tag: str, path: str, model: str, content: bytes) -> ControlCall:  # noqa: ARG002  # both are in the uploaded file
        """See `BatchDialect`."""
        body: dict[str, Json] = {
            "input_file_id": mark,
            "endpoint": f"/v1{path}",
            "completion_window": self.window,
        }
        if self.has_metadata:
            body["metadata"] = {TAG: tag}
        return ControlCall(method="POST", path="/batches", body=dumps(body))

    def poll(self, batch_id: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=f"/batches/{batch_id}")

    def cancel(self, batch_id: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="POST", path=f"/batches/{batch_id}/cancel")

    def list(self) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path="/batches", query={"limit": _PAGE})

    def fetch(self, output: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=output)

    @property
    def divide(self) -> None:
        """See `BatchDialect`: a file has lines."""

    def read_batch(self, body: Json) -> BatchView:
        """See `BatchDialect`."""
        if not isinstance(body, dict):
            raise Malformed("the response does not describe a batch")
        body = object_of(body, "job") or body  # Together's
        batch_id = text_of(body, "id")
        if not batch_id:
            raise Malformed("the response does not describe a batch: it has no id")
        status = text_of(body, "status").lower()
        files = (text_of(body, "output_file_id"), text_of(body, "error_file_id"))
        counts = object_of(body, "request_counts")
        size, done = count_of(counts, "total") or 0, done_of(counts)
        has_results = any(files)
        is_over = has_ended(status, OVER, RUNNING, has_results=has_results, size=size, done=done)
        return BatchView(
            id=batch_id,
            status=status,
            is_over=is_over,
            is_refused=status == "failed" and not has_results and not counts.get("completed"),
            is_complete=status == "completed" or (is_over and status not in OVER),
            outputs=tuple(f"/files/{file}/content" for file in files if file) if is_over else (),
            errors=_errors(body),
            mark=text_of(body, "input_file_id"),
            tag=text_of(object_of(body, "metadata"), TAG),
            size=size,
            done=done,
        )

    def read_page(self, body: Json) -> BatchPage:
        """See `BatchDialect`."""
        batches = body.get("data") if isinstance(body, dict) else body
        if not isinstance(batches, list):
            raise Malformed("the response is not a list of batches")
        views = tuple(self.read_batch(batch) for batch in batches)
        has_more = isinstance(body, dict) and body.get("has_more") is True
        if not has_more or not views:
            return BatchPage(views)
        query = {"limit": _PAGE, "after": views[-1].id}
        return BatchPage(views, ControlCall(method="GET", path="/batches", query=query))

    def read_line(self, raw: bytes) -> LineResult:
        """See `BatchDialect`."""
        return read_openai_line(raw)

    def may_be(self, view: BatchView, *, mark: str, tag: str, size: int) -> bool:  # noqa: ARG002  # the file identifies it
        """See `BatchDialect`."""
        return view.mark == mark if view.mark else bool(view.tag) and view.tag == tag

    def is_older(self, view: BatchView, *, mark: str) -> bool:  # noqa: ARG002  # the list does not show it
        """See `BatchDialect`."""
        return False


def read_openai_line(raw: bytes) -> LineResult:
    """Read the result of a line as OpenAI writes it; see `BatchDialect.read_line`.

    Raises:
        Malformed: it is not the result of a line.
    """
    line = read_object(raw, "a line")
    custom_id = text_of(line, "custom_id")
    response = parsed(line.get("response"))
    if not response and line.get("body"):  # the line is the response itself
        response = line
    if isinstance(response, dict) and response:
        request_id = text_of(response, "request_id")
        status, body = response.get("status_code"), _body(response)
        if status == 0 and body is None:  # such lines were reported: the call was not answered
            return LineResult(custom_id, 0, None, ApiError("no response"), request_id)
        return LineResult(custom_id, _status(response), body, request_id=request_id)
    return LineResult(custom_id, 0, None, read_error(line) if line.get("error") else None)


def done_of(counts: dict[str, Json]) -> int | None:
    """Return the number of lines with a result; None if it is not reported."""
    found = [count_of(counts, name) for name in ("completed", "failed")]
    return None if found == [None, None] else sum(one or 0 for one in found)


def _status(response: dict[str, Json]) -> int:
    """Return the status of a line; 0 if it has none, whatever its body is."""
    status = response.get("status_code")
    if isinstance(status, str) and status.isdecimal():
        return int(status[:4])
    return count_of(response, "status_code") or 0


def _body(response: dict[str, Json]) -> Json:
    """Return the body of a line's response, where the line may be it, or may have it as a text."""
    body = response.get("body")
    if body is None and "status_code" not in response and "body" not in response:
        return response
    return parsed(body)


def _errors(body: dict[str, Json]) -> tuple[LineError, ...]:
    data = object_of(body, "errors").get("data")
    found = [
        LineError(text_of(error, "code"), text_of(error, "message"), _position(error))
        for error in (data if isinstance(data, list) else [])
        if isinstance(error, dict)
    ]
    if not found and isinstance(body.get("error"), str | dict):  # Together's
        error = read_error(body)
        found.append(LineError(error.code or error.type, error.message))
    return tuple(found)


def _position(error: dict[str, Json]) -> int | None:
    """Return the index of the line at fault; the provider counts lines from 1."""
    number = count_of(error, "line")
    return number - 1 if number else None


OPENAI_BATCHES = OpenAIBatchDialect()
TOGETHER_BATCHES = OpenAIBatchDialect(
    name="together",
    purpose="batch-api",
    upload_path="/files/upload",  # accepts a form; `/files` redirects to another address
    lines_have_url=False,
    has_metadata=False,
    paths=frozenset({CHAT, "/completions"}),
    max_bytes=100 * 1000 * 1000,  # it is not known whether 1 MB is 1000 or 1024 kB
)
GROQ_BATCHES = OpenAIBatchDialect(  # evidence: docs/providers.md, Others: batches
    name="groq",
    paths=frozenset({CHAT}),  # the only one in its SDK
    max_bytes=100 * 1000 * 1000,
)
