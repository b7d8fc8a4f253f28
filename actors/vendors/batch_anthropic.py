"""Anthropic's message batches: the call that creates a batch contains its lines."""

from collections.abc import Iterable

import attrs

from ..json_value import Json
from .batch_dialect import BatchPage, BatchView, ControlCall, LineResult, has_ended
from .decoding import count_of, object_of, parsed, read_error, read_object, text_of
from .format import ApiError, Malformed

_PATH = "/messages/batches"
_PAGE = "1000"  # the most batches of one page
_NO_BATCH = "none"  # the mark if no batch existed before
_OK = 200
_OVER, _RUNNING = frozenset({"ended"}), frozenset({"in_progress", "canceling"})
_UNRUN = frozenset({"canceled", "expired"})  # types of results that cost nothing


@attrs.frozen(kw_only=True)
class AnthropicBatchDialect:
    """`POST /messages/batches`.

    A batch has neither a tag nor a file. Its mark is the newest batch that existed before it. A
    newer batch with the same number of lines may be the one; its results show whether it is,
    because each custom id contains Callsheet's name of the batch.

    Args:
        name: the name in settings.
        max_requests: the most lines of one batch.
        max_bytes: the most bytes of one batch.
        window_s: seconds within which a batch ends.
    """

    name: str = "anthropic"
    max_requests: int = 100_000
    max_bytes: int = 256 * 1000 * 1000  # it is not known whether 1 MB is 1000 or 1024 kB
    window_s: float = 86_400.0

    @property
    def max_inputs(self) -> int:
        """See `BatchDialect`; Anthropic has no embeddings."""
        return self.max_requests

    @property
    def is_certain(self) -> bool:
        """See `BatchDialect`."""
        return False

    def takes(self, path: str) -> bool:
        """See `BatchDialect`."""
        return path == "/messages"

    def line(self, custom_id: str, path: str, body: bytes) -> bytes:  # noqa: ARG002  # there is only one path
        """See `BatchDialect`."""
        return b'{"custom_id":"' + custom_id.encode() + b'","params":' + body + b"}"

    def join(self, lines: Iterable[bytes]) -> bytes:
        """See `BatchDialect`."""
        return b'{"requests":[' + b",".join(lines) + b"]}"

    def prepare(self, content: bytes) -> ControlCall:  # noqa: ARG002  # the second step sends it
        """See `BatchDialect`: get the newest batch."""
        return ControlCall(method="GET", path=_PATH, query={"limit": "1"})

    def read_mark(self, body: Json) -> str:
        """See `BatchDialect`: its id."""
        views = self.read_page(body).views
        return views[0].id if views else _NO_BATCH

    def create(self, *, mark: str, tag: str, path: str, model: str, content: bytes) -> ControlCall:  # noqa: ARG002  # Anthropic accepts none
        """See `BatchDialect`."""
        return ControlCall(method="POST", path=_PATH, body=content)

    def poll(self, batch_id: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=f"{_PATH}/{batch_id}")

    def cancel(self, batch_id: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="POST", path=f"{_PATH}/{batch_id}/cancel")

    def list(self) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=_PATH, query={"limit": _PAGE})

    def fetch(self, output: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=output)

    @property
    def divide(self) -> None:
        """See `BatchDialect`: the results have lines."""

    def read_batch(self, body: Json) -> BatchView:
        """See `BatchDialect`."""
        batch_id = text_of(body, "id") if isinstance(body, dict) else ""
        if not isinstance(body, dict) or not batch_id:
            raise Malformed("the response does not describe a batch")
        status = text_of(body, "processing_status").lower()
        counts = object_of(body, "request_counts")
        size = sum(count_of(counts, name) or 0 for name in counts)
        done = sum(count_of(counts, name) or 0 for name in counts if name != "processing")
        has_results = bool(body.get("results_url"))
        is_over = has_ended(status, _OVER, _RUNNING, has_results=has_results, size=size, done=done)
        return BatchView(
            id=batch_id,
            status=status,
            is_over=is_over,
            is_complete=is_over and not (counts.get("canceled") or counts.get("expired")),
            # Not `results_url`: the key must not be sent to an address in a response (L8).
            outputs=(f"{_PATH}/{batch_id}/results",) if is_over else (),
            size=size,
            done=done,
        )

    def read_page(self, body: Json) -> BatchPage:
        """See `BatchDialect`."""
        batches = body.get("data") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(batches, list):
            raise Malformed("the response is not a list of batches")
        views = tuple(self.read_batch(batch) for batch in batches)
        if body.get("has_more") is not True or not views:
            return BatchPage(views)
        query = {"limit": _PAGE, "after_id": views[-1].id}
        return BatchPage(views, ControlCall(method="GET", path=_PATH, query=query))

    def read_line(self, raw: bytes) -> LineResult:
        """See `BatchDialect`."""
        line = read_object(raw, "a line")
        custom_id, result = text_of(line, "custom_id"), parsed(line.get("result"))
        found = result if isinstance(result, dict) else {}
        kind = text_of(found, "type")
        message = parsed(found.get("message") or line.get("message"))
        if kind == "message":  # it is the message itself
            message = found
        if kind == "succeeded" or isinstance(message, dict):  # it is there, so it was paid for
            return LineResult(custom_id, _OK, message)
        if kind == "errored":
            # The error has the shape of the body of a response with another status.
            return LineResult(custom_id, _OK, None, read_error(found.get("error")))
        if kind in _UNRUN:
            error = ApiError(f"the line was {kind}", code=f"batch_{kind}")
            return LineResult(custom_id, 0, None, error)
        return LineResult(custom_id, 0)  # it may have been run

    def may_be(self, view: BatchView, *, mark: str, tag: str, size: int) -> bool:  # noqa: ARG002  # a batch has neither
        """See `BatchDialect`."""
        return view.size == size

    def is_older(self, view: BatchView, *, mark: str) -> bool:
        """See `BatchDialect`."""
        return view.id == mark


ANTHROPIC_BATCHES = AnthropicBatchDialect()
