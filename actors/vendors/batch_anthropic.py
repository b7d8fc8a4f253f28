"""Anthropic's message batches: the lines are in the call that makes the batch.

The Batch APIs that there are words for, by name.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs

from ..messages import Json
from .batch_dialect import BatchDialect, BatchPage, BatchView, ControlCall, LineResult
from .batch_openai import OPENAI_BATCHES, TOGETHER_BATCHES, loads_object
from .decoding import count_of, object_of, read_error, text_of
from .format import ApiError, Malformed

__all__ = [
    "ANTHROPIC_BATCHES",
    "DIALECTS",
    "AnthropicBatchDialect",
    "dialect_named",
]


_PATH = "/messages/batches"
_PAGE = "1000"  # the most there can be
_NOTHING = "none"  # the mark where no batch was there before
_OK = 200


@attrs.frozen(kw_only=True)
class AnthropicBatchDialect:
    """`POST /messages/batches`.

    A batch has no name of ours and no file. Its mark is the newest batch that was there before it:
    whatever is newer and has as many lines may be ours, and its results say whether it is, because
    each custom id has our name of the batch in it.

    Args:
        name: by which one chooses it.
        max_requests: lines in one batch at most.
        max_bytes: of one batch at most.
    """

    name: str = "anthropic"
    max_requests: int = 100_000
    max_bytes: int = 256 * 1000 * 1000  # whether its MB are of 1,000 or 1,024 is not known

    @property
    def max_inputs(self) -> int:
        """See `BatchDialect`: it embeds nothing."""
        return self.max_requests

    @property
    def is_certain(self) -> bool:
        """See `BatchDialect`."""
        return False

    def line(self, custom_id: str, path: str, body: bytes) -> bytes:  # noqa: ARG002  # there is one
        """See `BatchDialect`."""
        return b'{"custom_id":"' + custom_id.encode() + b'","params":' + body + b"}"

    def join(self, lines: Iterable[bytes]) -> bytes:
        """See `BatchDialect`."""
        return b'{"requests":[' + b",".join(lines) + b"]}"

    def prepare(self, content: bytes) -> ControlCall:  # noqa: ARG002  # it comes with the second step
        """See `BatchDialect`: see which batch is the newest."""
        return ControlCall(method="GET", path=_PATH, query={"limit": "1"})

    def read_mark(self, body: Json) -> str:
        """See `BatchDialect`: its id."""
        views = self.read_page(body).views
        return views[0].id if views else _NOTHING

    def create(self, *, mark: str, tag: str, path: str, content: bytes) -> ControlCall:  # noqa: ARG002  # it takes none
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

    def read_batch(self, body: Json) -> BatchView:
        """See `BatchDialect`."""
        batch_id = text_of(body, "id") if isinstance(body, dict) else ""
        if not isinstance(body, dict) or not batch_id:
            raise Malformed("the answer is of no batch")
        status = text_of(body, "processing_status").lower()
        counts = object_of(body, "request_counts")
        is_over = status == "ended"
        return BatchView(
            id=batch_id,
            status=status,
            is_over=is_over,
            is_complete=is_over and not (counts.get("canceled") or counts.get("expired")),
            # Not `results_url`: wherever it leads, the key does not go there (L8).
            outputs=(f"{_PATH}/{batch_id}/results",) if is_over else (),
            size=sum(count_of(counts, name) or 0 for name in counts),
        )

    def read_page(self, body: Json) -> BatchPage:
        """See `BatchDialect`."""
        batches = body.get("data") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(batches, list):
            raise Malformed("the answer is no list of batches")
        views = tuple(self.read_batch(batch) for batch in batches)
        if body.get("has_more") is not True or not views:
            return BatchPage(views)
        query = {"limit": _PAGE, "after_id": views[-1].id}
        return BatchPage(views, ControlCall(method="GET", path=_PATH, query=query))

    def read_line(self, raw: bytes) -> LineResult:
        """See `BatchDialect`."""
        line = loads_object(raw)
        custom_id, result = text_of(line, "custom_id"), object_of(line, "result")
        kind = text_of(result, "type")
        if kind == "succeeded":
            return LineResult(custom_id, _OK, result.get("message"))
        if kind == "errored":
            # The error is in an object like the body of an answer with another status.
            return LineResult(custom_id, _OK, None, read_error(result.get("error")))
        said = ApiError(f"the line was {kind or 'not answered'}", code=f"batch_{kind}")
        return LineResult(custom_id, 0, None, said)

    def may_be(self, view: BatchView, *, mark: str, tag: str, size: int) -> bool:  # noqa: ARG002  # it has none
        """See `BatchDialect`."""
        return view.size == size

    def is_older(self, view: BatchView, *, mark: str) -> bool:
        """See `BatchDialect`."""
        return view.id == mark


ANTHROPIC_BATCHES = AnthropicBatchDialect()

_ALL: tuple[BatchDialect, ...] = (OPENAI_BATCHES, TOGETHER_BATCHES, ANTHROPIC_BATCHES)

DIALECTS: Mapping[str, BatchDialect] = MappingProxyType({one.name: one for one in _ALL})
"""Those that Callsheet speaks, by name."""


def dialect_named(name: str) -> BatchDialect:
    """The dialect of that name.

    Raises:
        ValueError: there is none; lists those there are.
    """
    try:
        return DIALECTS[name]
    except KeyError:
        known = ", ".join(DIALECTS)
        raise ValueError(f"there is no Batch API {name!r:.60}; known are {known}") from None
