"""The intake of the Batch API stage: which requests a batch can take, and their lines."""

from math import inf
from typing import final

import trio

from ...runtime import ReplySlot
from ..calls import Complete
from ..identity import content_key
from ..rate_limit import TokenEstimator
from ..responses import Response
from ..vendors import BatchDialect, Endpoint, dumps
from .in_flight import BatchInFlight, BatchWaiter
from .plan import BatchGroup, LineSize
from .policy import BatchApiPolicy

NEAR = "its deadline is near"
TOO_LARGE = "it is larger than a batch may be"
"""Why a request is sent live."""

_OVERHEAD_BYTES = 256  # of a line besides its body
_NO_SUCH_API = frozenset({405, 501})
_NO_SUCH_PATH = frozenset({404, 410})  # of the first call of a batch


@final
class BatchIntake:
    """Encodes requests, and tells which of them no batch can take.

    Args:
        endpoint: the endpoint that processes the batches.
        dialect: its Batch API; None if it has none.
        policy: the settings of the stage.

    Attributes:
        account: the account whose batches are meant, for the journal and the keys of requests.
        refusal: why the endpoint takes no batches; "" if it may.
    """

    def __init__(
        self, endpoint: Endpoint, dialect: BatchDialect | None, policy: BatchApiPolicy
    ) -> None:
        self.account = endpoint.identity
        self.refusal = ""
        if dialect is None:
            self.refusal = f"Callsheet supports no Batch API of {endpoint.vendor.title}"
        self._endpoint = endpoint
        self._dialect = dialect
        self._policy = policy
        self._estimator = TokenEstimator()

    def waiter(self, message: Complete, slot: ReplySlot[Response]) -> BatchWaiter | None:
        """Return a waiter for a request; None if it cannot be encoded, or has further headers."""
        request, now = self._endpoint.request_there(message.request), trio.current_time()
        if request.extra_headers:  # a line of a batch has none
            return None
        try:
            form = self._endpoint.format_for(request)
            body = form.encode(request, stream=False)
            text, path = dumps(body), form.path(request, stream=False)
            key = content_key(self.account, path, body)
        except (ValueError, TypeError):
            return None  # the live call reports the error
        tokens = self._estimator.estimate(request).input_tokens
        due = now + (inf if request.deadline is None else request.deadline)
        return BatchWaiter(
            message=message,
            slot=slot,
            key=key,
            group=BatchGroup(path, request.model),
            size=LineSize(len(text) + _OVERHEAD_BYTES, tokens, len(request.inputs)),
            due=due,
            margin_s=self._policy.margin_s(min(due, slot.deadline) - now),
        )

    def encode(self, message: Complete) -> bytes:
        """Return the body of a request as a line has it."""
        request = self._endpoint.request_there(message.request)
        return dumps(self._endpoint.format_for(request).encode(request, stream=False))

    def refused(self, batch: BatchInFlight, why: str) -> None:
        """Learn from the refusal of a batch whether the endpoint has a Batch API at all."""
        status = None if batch.error is None else batch.error.status
        if status in _NO_SUCH_API or (status in _NO_SUCH_PATH and not batch.job.mark):
            self.refusal = why

    def why_not(self, waiter: BatchWaiter) -> str:
        """Return why no batch can take a request of this kind; "" if one can."""
        if self.refusal or self._dialect is None or self._dialect.takes(waiter.group.path):
            return self.refusal
        title = self._endpoint.vendor.title
        return f"the Batch API of {title} takes no requests to {waiter.group.path}"
