"""What a Batch API dialect is: it writes the control calls, and reads their responses. Pure (R14).

Like a wire format, a dialect knows nothing of addresses, keys and HTTP; `Vendor` names the dialect
of each vendor.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, Protocol

import attrs

from ..json_value import Json
from .format import ApiError


@attrs.frozen(kw_only=True)
class ControlCall:
    """One HTTP request of the Batch API.

    Args:
        method: the HTTP method.
        path: what to append to the base URL.
        query: parameters of the URL.
        body: the JSON text to send; None for no body.
        form: fields of the form that `upload` is sent with.
        upload: content of a file to upload; None for no upload.
    """

    method: Literal["GET", "POST"]
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict[str, str])
    body: bytes | None = attrs.field(default=None, repr=False)
    form: Mapping[str, str] = attrs.field(factory=dict[str, str])
    upload: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class LineError:
    """Why a batch was refused before any of its lines ran.

    Args:
        code: the provider's code, such as ``token_limit_exceeded``.
        message: the text for people.
        position: index of the line at fault, from 0; None if no line is named.
    """

    code: str
    message: str
    position: int | None = None


@attrs.frozen(kw_only=True)
class BatchView:
    """The state of one batch, as the provider reports it.

    Args:
        id: the provider's id of the batch.
        status: the provider's status, in lower case.
        is_over: the batch has ended.
        is_refused: it has ended, and none of its lines ran.
        is_complete: it has ended, and all of its lines ran.
        outputs: paths of the results, once it has ended.
        errors: why it was refused.
        mark: id of the file it was created from; "" if the provider does not report it.
        tag: Callsheet's name of the batch; "" if the provider does not report it.
        size: number of lines; 0 if it is not known yet.
        done: number of lines with a result, successful or not; None if it is not reported.
        wait_s: seconds to wait before the next poll, by the provider's request; None for no
            request.
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
    done: int | None = None
    wait_s: float | None = None


@attrs.frozen
class BatchPage:
    """One page of the list of batches, newest first.

    Args:
        views: the batches on this page.
        following: the call for the next page; None after the last page.
    """

    views: tuple[BatchView, ...]
    following: ControlCall | None = None


@attrs.frozen
class LineResult:
    """The result of one line.

    Args:
        custom_id: id of the line.
        status: HTTP status of the line's call; 0 if none is reported. Without a body as well, the
            line was not called if `error` gives a reason.
        body: body of the response; None if there is none.
        error: the error, if it is not in `body`; None without one.
        request_id: the provider's id of the call; "" if it is not reported.
    """

    custom_id: str
    status: int
    body: Json = attrs.field(default=None, repr=False)
    error: ApiError | None = None
    request_id: str = ""


def has_ended(
    status: str,
    over: Collection[str],
    running: Collection[str],
    *,
    has_results: bool,
    size: int,
    done: int | None,
) -> bool:
    """Return whether a batch has ended, also in a state that this release does not know.

    Args:
        status: the state, in lower case.
        over: the known states of a batch that has ended.
        running: the known states of a batch that has not.
        has_results: whether the provider names its results.
        size: number of lines; 0 if it is not reported.
        done: number of lines with a result; None if it is not reported.
    """
    if status in over or status in running:
        return status in over
    return has_results and (done is None or done >= size)


class BatchDialect(Protocol):
    """The calls and responses of one kind of Batch API.

    A batch is created in two steps. `prepare` costs nothing, and returns a mark that identifies the
    batch later; `create` creates it. With the mark it can be found out later whether a `create`
    without a response has created a batch.
    """

    @property
    def name(self) -> str:
        """The name in settings."""
        ...

    @property
    def max_requests(self) -> int:
        """The most lines of one batch."""
        ...

    @property
    def max_bytes(self) -> int:
        """The most bytes of one batch."""
        ...

    @property
    def max_inputs(self) -> int:
        """The most texts to embed in one batch."""
        ...

    @property
    def window_s(self) -> float:
        """Seconds after its creation within which a batch ends."""
        ...

    @property
    def is_certain(self) -> bool:
        """Whether the list identifies a batch. If not, only its results do."""
        ...

    def takes(self, path: str) -> bool:
        """Return whether a batch may have requests to this path.

        Args:
            path: what a single call would append to the base URL.
        """
        ...

    def line(self, custom_id: str, path: str, body: bytes) -> bytes:
        """Return one line of a batch.

        Args:
            custom_id: id of its result: at most 64 letters, digits, _ and -.
            path: what a single call would append to the base URL.
            body: the JSON text of the request, without a stream.
        """
        ...

    def join(self, lines: Iterable[bytes]) -> bytes:
        """Return the content of a batch with these lines."""
        ...

    def prepare(self, content: bytes) -> ControlCall:
        """Return the call of the first step.

        Args:
            content: content of the batch.
        """
        ...

    def read_mark(self, body: Json) -> str:
        """Read the mark in the response to the first step.

        Raises:
            Malformed: it has none.
        """
        ...

    def create(self, *, mark: str, tag: str, path: str, model: str, content: bytes) -> ControlCall:
        """Return the call of the second step.

        Args:
            mark: the mark of the first step.
            tag: Callsheet's name of the batch.
            path: path of its lines.
            model: the provider's name of their model.
            content: content of the batch.
        """
        ...

    def poll(self, batch_id: str) -> ControlCall:
        """Return the call for the state of a batch."""
        ...

    def cancel(self, batch_id: str) -> ControlCall | None:
        """Return the call that cancels a batch; None if the provider has no such call."""
        ...

    def list(self) -> ControlCall:
        """Return the call for the list of all batches, newest first."""
        ...

    def fetch(self, output: str) -> ControlCall:
        """Return the call for results: one JSON text a line, in any order; but see `divide`.

        Args:
            output: one of `BatchView.outputs`.
        """
        ...

    @property
    def divide(self) -> Callable[[Json], Sequence[bytes]] | None:
        """Returns the results in the body, if that is one JSON text; None if it has lines."""
        ...

    def read_batch(self, body: Json) -> BatchView:
        """Read the state of a batch.

        Raises:
            Malformed: the body does not describe a batch.
        """
        ...

    def read_page(self, body: Json) -> BatchPage:
        """Read a page of the list.

        Raises:
            Malformed: the body is not a list of batches.
        """
        ...

    def read_line(self, raw: bytes) -> LineResult:
        """Read the result of one line.

        Raises:
            Malformed: it is not the result of a line.
        """
        ...

    def may_be(self, view: BatchView, *, mark: str, tag: str, size: int) -> bool:
        """Return whether a listed batch is, or could be, the one that `create` was called for.

        Args:
            view: the listed batch.
            mark: the mark that `create` was called with.
            tag: the tag that `create` was called with.
            size: number of lines.
        """
        ...

    def is_older(self, view: BatchView, *, mark: str) -> bool:
        """Return whether a listed batch, and all after it, existed before `prepare`."""
        ...
