"""Gemini's batches: the call that creates a batch contains its lines, and so do the results."""

from collections.abc import Iterable, Mapping, Sequence

import attrs

from ..json_value import Json
from .batch_dialect import BatchPage, BatchView, ControlCall, LineError, LineResult, has_ended
from .decoding import count_of, dumps, object_of, parsed, read_error, read_object, text_of
from .format import Malformed

_PATH = "/batches"
_PAGE = "100"
_VERB, _BATCH_VERB = ":generateContent", ":batchGenerateContent"
_MARK = "listed"  # Callsheet's name of the batch identifies it, and needs no mark
_OK = 200
_OVER = frozenset({"succeeded", "failed", "cancelled", "expired"})
_RUNNING = frozenset({"pending", "running"})

# The HTTP statuses of the codes of google.rpc.
_STATUSES: Mapping[str, int] = {
    "3": 400,
    "4": 504,
    "5": 404,
    "7": 403,
    "8": 429,
    "9": 400,
    "11": 400,
    "13": 500,
    "14": 503,
    "16": 401,
}


@attrs.frozen(kw_only=True)
class GeminiBatchDialect:
    """`POST /models/MODEL:batchGenerateContent` with all lines, as an operation that is polled.

    Evidence: docs/providers.md, Gemini: batches. Batches with lines in the call, below 20 MB, are
    supported, and not those with a file. A batch that has expired has no results; whether its lines
    were billed is not documented, so that they may have been.

    Args:
        name: the name in settings.
        max_requests: the most lines of one batch; no limit but that of bytes is documented.
        max_bytes: the most bytes of one batch.
        window_s: seconds within which a batch ends.
    """

    name: str = "gemini"
    max_requests: int = 50_000
    max_bytes: int = 19 * 1000 * 1000
    window_s: float = 48 * 3600.0

    @property
    def max_inputs(self) -> int:
        """See `BatchDialect`."""
        return self.max_requests

    @property
    def is_certain(self) -> bool:
        """See `BatchDialect`."""
        return True

    def takes(self, path: str) -> bool:
        """See `BatchDialect`."""
        return path.endswith(_VERB)

    def line(self, custom_id: str, path: str, body: bytes) -> bytes:  # noqa: ARG002  # the batch has it
        """See `BatchDialect`."""
        key = b'"},"request":'
        return b'{"metadata":{"key":"' + custom_id.encode() + key + body + b"}"

    def join(self, lines: Iterable[bytes]) -> bytes:
        """See `BatchDialect`."""
        return b'{"requests":{"requests":[' + b",".join(lines) + b"]}}"

    def prepare(self, content: bytes) -> ControlCall:  # noqa: ARG002  # the second step sends it
        """See `BatchDialect`: find out whether there is a Batch API."""
        return ControlCall(method="GET", path=_PATH, query={"pageSize": "1"})

    def read_mark(self, body: Json) -> str:
        """See `BatchDialect`."""
        self.read_page(body)
        return _MARK

    def create(self, *, mark: str, tag: str, path: str, model: str, content: bytes) -> ControlCall:  # noqa: ARG002  # the path has the model
        """See `BatchDialect`."""
        head = dumps({"displayName": tag})
        body = b'{"batch":' + head[:-1] + b',"inputConfig":' + content + b"}}"
        where = path.removesuffix(_VERB) + _BATCH_VERB
        return ControlCall(method="POST", path=where, body=body)

    def poll(self, batch_id: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=f"{_PATH}/{batch_id}")

    def cancel(self, batch_id: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="POST", path=f"{_PATH}/{batch_id}:cancel")

    def list(self) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=_PATH, query={"pageSize": _PAGE})

    def fetch(self, output: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=output)

    def divide(self, body: Json) -> Sequence[bytes]:
        """See `BatchDialect`."""
        found = _responses(body) if isinstance(body, dict) else None
        return [dumps(one) if isinstance(one, dict) else b"null" for one in found or []]

    def read_batch(self, body: Json) -> BatchView:
        """See `BatchDialect`."""
        name = text_of(body, "name") if isinstance(body, dict) else ""
        if not isinstance(body, dict) or not name.startswith("batches/"):
            raise Malformed("the response does not describe a batch")
        batch_id, about = name.removeprefix("batches/"), object_of(body, "metadata")
        # The documents name the states JOB_STATE_*, and the API names them BATCH_STATE_*.
        status = (text_of(about, "state") or text_of(body, "state")).lower().rpartition("state_")[2]
        has_results = _responses(body) is not None
        stats = object_of(about, "batchStats")
        error = read_error(body) if body.get("error") else None
        size, done = _count(stats, "requestCount") or 0, _done(stats)
        is_over = has_ended(status, _OVER, _RUNNING, has_results=has_results, size=size, done=done)
        return BatchView(
            id=batch_id,
            status=status,
            is_over=is_over,
            is_refused=status == "failed" and not has_results and done == 0,
            is_complete=status == "succeeded" or (is_over and status not in _OVER),
            outputs=(f"{_PATH}/{batch_id}",) if is_over and has_results else (),
            errors=() if error is None else (LineError(error.status or error.code, error.message),),
            tag=text_of(about, "displayName"),
            size=size,
            done=done,
        )

    def read_page(self, body: Json) -> BatchPage:
        """See `BatchDialect`. The list is empty, without a member, if there is no batch."""
        operations = body.get("operations", []) if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(operations, list):
            raise Malformed("the response is not a list of batches")
        views = tuple(self.read_batch(operation) for operation in operations)
        token = text_of(body, "nextPageToken")
        query = {"pageSize": _PAGE, "pageToken": token}
        return BatchPage(
            views, ControlCall(method="GET", path=_PATH, query=query) if token else None
        )

    def read_line(self, raw: bytes) -> LineResult:
        """See `BatchDialect`."""
        line = read_object(raw, "a line")
        key = text_of(object_of(line, "metadata"), "key") or text_of(line, "key")
        response = parsed(line if "candidates" in line else line.get("response"))
        if response is None and line.get("error"):
            error = read_error(line)
            status = _STATUSES.get(error.code, 0)
            return LineResult(key, status, None, error)
        if response is None:
            return LineResult(key, 0)
        return LineResult(key, _OK, response)

    def may_be(self, view: BatchView, *, mark: str, tag: str, size: int) -> bool:  # noqa: ARG002  # its name is its own
        """See `BatchDialect`."""
        return bool(view.tag) and view.tag == tag

    def is_older(self, view: BatchView, *, mark: str) -> bool:  # noqa: ARG002  # the order is not known
        """See `BatchDialect`."""
        return False


def _responses(body: dict[str, Json]) -> list[Json] | None:
    """Return the results in an operation, in either place and nesting; None if it has none."""
    for holder in (object_of(body, "response"), object_of(object_of(body, "metadata"), "output")):
        found = holder.get("inlinedResponses")
        if isinstance(found, dict):
            found = found.get("inlinedResponses", [])
        if isinstance(found, list):
            return found
    return None


def _done(stats: dict[str, Json]) -> int | None:
    if not stats:
        return None
    names = ("successfulRequestCount", "failedRequestCount")
    return sum(_count(stats, name) or 0 for name in names)


def _count(stats: dict[str, Json], name: str) -> int | None:
    """Return a number, which the API may send as a text."""
    value = stats.get(name)
    if isinstance(value, str) and value.isdecimal():
        return int(value[:18])
    return count_of(stats, name)


GEMINI_BATCHES = GeminiBatchDialect()
