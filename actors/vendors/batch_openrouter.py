"""OpenRouter's batches: the call that creates a batch contains its lines, and so do the results."""

from collections.abc import Iterable, Sequence

import attrs

from ..json_value import Json
from .batch_dialect import BatchPage, BatchView, ControlCall, LineError, LineResult, has_ended
from .batch_openai import CHAT, OVER, RUNNING, done_of, read_openai_line
from .decoding import count_of, dumps, object_of, read_error, text_of
from .format import Malformed

_PATH = "/batches"
_NONE = "none"  # the mark if no batch existed before


@attrs.frozen(kw_only=True)
class OpenRouterBatchDialect:
    """`POST /batches` with all lines; `GET /batches/{id}` has the results once a batch has ended.

    Evidence: docs/providers.md, Others: batches. Documented are the calls, the states and that
    there is no way to cancel a batch. Neither the shape of the list is, nor the limits of a batch:
    the mark is the list of batches that existed before, in any order; the limits are OpenAI's.

    Args:
        name: the name in settings.
        max_requests: the most lines of one batch.
        max_bytes: the most bytes of one batch.
        window_s: seconds within which a batch ends; some of the providers take up to 96 hours.
    """

    name: str = "openrouter"
    max_requests: int = 50_000
    max_bytes: int = 100 * 1000 * 1000
    window_s: float = 96 * 3600.0

    @property
    def max_inputs(self) -> int:
        """See `BatchDialect`."""
        return self.max_requests

    @property
    def is_certain(self) -> bool:
        """See `BatchDialect`."""
        return False

    def takes(self, path: str) -> bool:
        """See `BatchDialect`."""
        return path == CHAT

    def line(self, custom_id: str, path: str, body: bytes) -> bytes:  # noqa: ARG002  # there is only one path
        """See `BatchDialect`."""
        return b'{"custom_id":"' + custom_id.encode() + b'","body":' + body + b"}"

    def join(self, lines: Iterable[bytes]) -> bytes:
        """See `BatchDialect`."""
        return b"[" + b",".join(lines) + b"]"

    def prepare(self, content: bytes) -> ControlCall:  # noqa: ARG002  # the second step sends it
        """See `BatchDialect`: get the batches that exist."""
        return self.list()

    def read_mark(self, body: Json) -> str:
        """See `BatchDialect`: their ids."""
        return ",".join(view.id for view in self.read_page(body).views) or _NONE

    def create(self, *, mark: str, tag: str, path: str, model: str, content: bytes) -> ControlCall:  # noqa: ARG002  # OpenRouter accepts none
        """See `BatchDialect`. The lines come last: the provider reads the body as it arrives."""
        head = dumps({"endpoint": f"/v1{path}", "model": model})
        body = head[:-1] + b',"requests":' + content + b"}"
        return ControlCall(method="POST", path=_PATH, body=body)

    def poll(self, batch_id: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=f"{_PATH}/{batch_id}")

    def cancel(self, batch_id: str) -> None:
        """See `BatchDialect`: a batch cannot be cancelled."""

    def list(self) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=_PATH)

    def fetch(self, output: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=output)

    def divide(self, body: Json) -> Sequence[bytes]:
        """See `BatchDialect`."""
        shown = (object_of(body, "data") or body) if isinstance(body, dict) else {}
        results = shown.get("results")
        found = results if isinstance(results, list) else []
        return [dumps(one) if isinstance(one, dict) else b"null" for one in found]

    def read_batch(self, body: Json) -> BatchView:
        """See `BatchDialect`."""
        if isinstance(body, dict):
            body = object_of(body, "data") or body
        batch_id = text_of(body, "id") if isinstance(body, dict) else ""
        if not isinstance(body, dict) or not batch_id:
            raise Malformed("the response does not describe a batch")
        status, counts = text_of(body, "status").lower(), object_of(body, "request_counts")
        has_results = isinstance(body.get("results"), list)
        size, done = count_of(counts, "total") or 0, done_of(counts)
        is_over = has_ended(status, OVER, RUNNING, has_results=has_results, size=size, done=done)
        error = read_error(body) if body.get("error") else None
        return BatchView(
            id=batch_id,
            status=status,
            is_over=is_over,
            is_refused=status == "failed" and not has_results and not counts.get("completed"),
            is_complete=status == "completed" or (is_over and status not in OVER),
            outputs=(f"{_PATH}/{batch_id}",) if is_over and has_results else (),
            errors=() if error is None else (LineError(error.code or error.type, error.message),),
            size=size,
            done=done,
        )

    def read_page(self, body: Json) -> BatchPage:
        """See `BatchDialect`."""
        batches = body.get("data") if isinstance(body, dict) else body
        if not isinstance(batches, list):
            raise Malformed("the response is not a list of batches")
        return BatchPage(tuple(self.read_batch(batch) for batch in batches))

    def read_line(self, raw: bytes) -> LineResult:
        """See `BatchDialect`."""
        return read_openai_line(raw)

    def may_be(self, view: BatchView, *, mark: str, tag: str, size: int) -> bool:  # noqa: ARG002  # a batch has neither
        """See `BatchDialect`."""
        return view.id not in mark.split(",") and view.size in (0, size)

    def is_older(self, view: BatchView, *, mark: str) -> bool:  # noqa: ARG002  # the order is not known
        """See `BatchDialect`."""
        return False


OPENROUTER_BATCHES = OpenRouterBatchDialect()
