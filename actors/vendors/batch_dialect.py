"""What each Batch API says, as data: calls to make, and what their answers mean. Pure (R14).

A dialect knows nothing of addresses, keys and HTTP, like a wire format; see
`callsheet.actors.vendors` for who speaks which.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

import attrs

from ..messages import Json
from .format import ApiError

__all__ = [
    "BatchDialect",
    "BatchPage",
    "BatchView",
    "ControlCall",
    "LineError",
    "LineResult",
]


@attrs.frozen(kw_only=True)
class ControlCall:
    """One HTTP request of the Batch API.

    Args:
        method: of HTTP.
        path: what to append to the base URL.
        query: its parameters.
        body: a JSON text; None for none.
        form: the fields of a form, which `upload` goes with.
        upload: the content of a file to upload; None for none.
    """

    method: Literal["GET", "POST"]
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict[str, str])
    body: bytes | None = attrs.field(default=None, repr=False)
    form: Mapping[str, str] = attrs.field(factory=dict[str, str])
    upload: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class LineError:
    """Why a batch was refused before any line of it ran.

    Args:
        code: such as ``token_limit_exceeded``.
        message: for people.
        position: of the line that it is about, from 0; None if about none.
    """

    code: str
    message: str
    position: int | None = None


@attrs.frozen(kw_only=True)
class BatchView:
    """What a provider says of one batch.

    Args:
        id: the provider's name of it.
        status: in the provider's words, in small letters.
        is_over: nothing more will happen to it.
        is_refused: it is over, and no line of it has run.
        is_complete: it is over, and every line has run.
        outputs: paths where results are, once it is over.
        errors: why it was refused.
        mark: what it was made from; "" if the provider does not say.
        tag: what we have called it; "" if the provider does not say.
        size: lines in it; 0 if that is not known yet.
        wait_s: how long the provider asks one to wait before asking again, in seconds.
    """

    id: str
    status: str = ""
    is_over: bool = False
    is_refused: bool = False
    is_complete: bool = False
    outputs: tuple[str, ...] = ()
    errors: tuple[LineError, ...] = ()
    mark: str = ""
    tag: str = ""
    size: int = 0
    wait_s: float | None = None


@attrs.frozen
class BatchPage:
    """A part of the list of batches, the newest first.

    Args:
        views: the batches.
        following: the call that gives the next part; None if this was the last.
    """

    views: tuple[BatchView, ...]
    following: ControlCall | None = None


@attrs.frozen
class LineResult:
    """What came of one line.

    Args:
        custom_id: of the line.
        status: of HTTP, as if it had been a call of its own; 0 if it never was one.
        body: the answer's body; None if there is none.
        said: why there is no answer, where `body` does not say.
        request_id: by which the provider knows it; empty if it does not say.
    """

    custom_id: str
    status: int
    body: Json = attrs.field(default=None, repr=False)
    said: ApiError | None = None
    request_id: str = ""


class BatchDialect(Protocol):
    """How one kind of Batch API is spoken to.

    A batch is made in two steps. `prepare` makes nothing that costs anything, and gives the mark
    that tells the batch from every other one afterwards; `create` makes it. Whoever has kept the
    mark can find out whether a `create` without an answer has made one.
    """

    @property
    def name(self) -> str:
        """By which one chooses it."""
        ...

    @property
    def max_requests(self) -> int:
        """Lines in one batch at most."""
        ...

    @property
    def max_bytes(self) -> int:
        """Of one batch at most."""
        ...

    @property
    def max_inputs(self) -> int:
        """Texts to embed in one batch at most."""
        ...

    @property
    def is_certain(self) -> bool:
        """Whether the list says whose a batch is. If not, only its results do."""
        ...

    def line(self, custom_id: str, path: str, body: bytes) -> bytes:
        """One line of a batch.

        Args:
            custom_id: what its result will be known by: at most 64 of letters, digits, _ and -.
            path: where it would go as a call of its own, after the base URL.
            body: its JSON text, without a stream.
        """
        ...

    def join(self, lines: Iterable[bytes]) -> bytes:
        """The content of a batch."""
        ...

    def prepare(self, content: bytes) -> ControlCall:
        """The first step."""
        ...

    def read_mark(self, body: Json) -> str:
        """The mark in the answer to it.

        Raises:
            Malformed: there is none.
        """
        ...

    def create(self, *, mark: str, tag: str, path: str, content: bytes) -> ControlCall:
        """The second step.

        Args:
            mark: of the first step.
            tag: our name for the batch.
            path: of its lines.
            content: of the batch.
        """
        ...

    def poll(self, batch_id: str) -> ControlCall:
        """Ask how it stands."""
        ...

    def cancel(self, batch_id: str) -> ControlCall:
        """Have it end now."""
        ...

    def list(self) -> ControlCall:
        """Ask for all there are, the newest first."""
        ...

    def fetch(self, output: str) -> ControlCall:
        """Ask for results, one JSON text a line, in any order."""
        ...

    def read_batch(self, body: Json) -> BatchView:
        """How a batch stands.

        Raises:
            Malformed: the body is of no batch.
        """
        ...

    def read_page(self, body: Json) -> BatchPage:
        """A part of the list.

        Raises:
            Malformed: the body is none.
        """
        ...

    def read_line(self, raw: bytes) -> LineResult:
        """What came of one line.

        Raises:
            Malformed: it is no result of a line.
        """
        ...

    def may_be(self, view: BatchView, *, mark: str, tag: str, size: int) -> bool:
        """Whether a listed batch is, or where the list does not say, could be, the one made so."""
        ...

    def is_older(self, view: BatchView, *, mark: str) -> bool:
        """Whether a listed batch, and all after it, were there before `prepare`."""
        ...
