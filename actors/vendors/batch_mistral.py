"""Mistral's batch jobs: like OpenAI's batches, under other paths and names."""

import attrs

from ..json_value import Json
from .batch_dialect import BatchPage, BatchView, ControlCall, LineError, has_ended
from .batch_openai import CHAT, TAG, OpenAIBatchDialect
from .decoding import count_of, dumps, object_of, text_of
from .format import Malformed

_PATH = "/batch/jobs"
_PAGE = "100"
_OVER = frozenset({"success", "failed", "timeout_exceeded", "cancelled"})
_RUNNING = frozenset({"queued", "running", "cancellation_requested"})


@attrs.frozen(kw_only=True)
class MistralBatchDialect(OpenAIBatchDialect):
    """`POST /files`, `POST /batch/jobs`. Evidence: docs/providers.md, Others: batches.

    Documented are the calls, the states and the limits. It is not known whether a job that has
    ended names its files at once.

    Args:
        timeout_hours: hours after which a job ends with the state TIMEOUT_EXCEEDED.
    """

    timeout_hours: int = 24

    def create(self, *, mark: str, tag: str, path: str, model: str, content: bytes) -> ControlCall:  # noqa: ARG002  # it is in the uploaded file
        """See `BatchDialect`."""
        body: dict[str, Json] = {
            "input_files": [mark],
            "endpoint": f"/v1{path}",
            "model": model,
            "metadata": {TAG: tag},
            "timeout_hours": self.timeout_hours,
        }
        return ControlCall(method="POST", path=_PATH, body=dumps(body))

    def poll(self, batch_id: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="GET", path=f"{_PATH}/{batch_id}")

    def cancel(self, batch_id: str) -> ControlCall:
        """See `BatchDialect`."""
        return ControlCall(method="POST", path=f"{_PATH}/{batch_id}/cancel")

    def list(self) -> ControlCall:
        """See `BatchDialect`."""
        query = {"page": "0", "page_size": _PAGE, "order_by": "-created"}
        return ControlCall(method="GET", path=_PATH, query=query)

    def read_batch(self, body: Json) -> BatchView:
        """See `BatchDialect`."""
        batch_id = text_of(body, "id") if isinstance(body, dict) else ""
        if not isinstance(body, dict) or not batch_id:
            raise Malformed("the response does not describe a batch")
        status = text_of(body, "status").lower()
        files = [text_of(body, name) for name in ("output_file", "error_file")]
        good, bad = (count_of(body, f"{kind}_requests") for kind in ("succeeded", "failed"))
        size, has_results = count_of(body, "total_requests") or 0, any(files)
        done = None if good is None and bad is None else (good or 0) + (bad or 0)
        is_over = has_ended(status, _OVER, _RUNNING, has_results=has_results, size=size, done=done)
        inputs = body.get("input_files")
        return BatchView(
            id=batch_id,
            status=status,
            is_over=is_over,
            is_refused=status == "failed" and not has_results and not good,
            is_complete=status == "success" or (is_over and status not in _OVER),
            outputs=tuple(f"/files/{file}/content" for file in files if file) if is_over else (),
            errors=_errors(body),
            mark=str(inputs[0]) if isinstance(inputs, list) and inputs else "",
            tag=text_of(object_of(body, "metadata"), TAG),
            size=size,
            done=done,
        )

    def read_page(self, body: Json) -> BatchPage:
        """See `BatchDialect`. Only the newest batches are listed."""
        return BatchPage(super().read_page(body).views)


def _errors(body: dict[str, Json]) -> tuple[LineError, ...]:
    found = body.get("errors")
    return tuple(
        LineError("", text_of(error, "message"))
        for error in (found if isinstance(found, list) else [])
        if isinstance(error, dict)
    )


MISTRAL_BATCHES = MistralBatchDialect(
    name="mistral",
    lines_have_url=False,
    paths=frozenset({CHAT, "/embeddings"}),
    max_requests=1_000_000,
    max_bytes=200 * 1000 * 1000,  # 512 MB are documented, but a batch is built in memory
)
