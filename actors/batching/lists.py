"""The strategy for endpoints that take a list: embeddings of texts, completions of prompts."""

from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import attrs

from ..errors import MalformedResponse
from ..messages import Request
from ..responses import Response
from ..vendors import BatchLimits, BatchWeight
from .strategy import common_key

_ITEMS = frozenset({"input", "inputs", "prompt", "n"})
"""Members of a body that decide how many items the response has, and which."""


@attrs.frozen
class ListStrategy:
    """Puts the texts of several requests into one call (see `BatchStrategy`).

    Embeddings are in the order of the texts. Choice j of prompt i, of n choices each, has the
    index ``i * n + j``; the wire format sorts them by it.

    Args:
        task: the task of the requests that it combines.
        bounds: limits of the endpoint for one call.
    """

    task: Literal["completion", "embedding"]
    bounds: BatchLimits

    name = "list"
    check_share = 0.0
    least_agreement = 0.5

    def key(self, request: Request) -> Hashable | None:
        """Return all of the request except its texts; None if its extra body changes the items."""
        if request.task != self.task or _ITEMS.intersection(request.extra_body):
            return None
        return common_key(request, "inputs")

    def bounds_for(self, request: Request) -> BatchLimits:  # noqa: ARG002  # see BatchStrategy
        """Return the limits of the endpoint."""
        return self.bounds

    def pieces(self, request: Request, weigh: Callable[[str], BatchWeight]) -> Sequence[Request]:
        """Split the texts, in order, into pieces that each fit into one call."""
        pieces: list[list[str]] = []
        total = BatchWeight()
        for text in request.inputs:
            weight = weigh(text)
            total = total.plus(weight)
            if pieces and self.bounds.has_room(total):
                pieces[-1].append(text)
            else:
                pieces.append([text])
                total = weight
        if len(pieces) == 1:
            return (request,)
        return [attrs.evolve(request, inputs=texts) for texts in pieces]

    def texts(self, request: Request) -> Sequence[str]:
        """Return all texts of the request."""
        return request.inputs

    def combine(self, requests: Sequence[Request]) -> Request:
        """Return one request for the texts of all requests."""
        texts = tuple(text for request in requests for text in request.inputs)
        return attrs.evolve(requests[0], inputs=texts)

    def form_tokens(self, request: Request) -> float | None:  # noqa: ARG002  # see BatchStrategy
        """Return None: a list has no form that costs tokens."""
        return None

    def split(self, requests: Sequence[Request], response: Response) -> Sequence[Response | None]:
        """Return the share of each request; None for one whose generation failed.

        None for all if the number of items is wrong (L5).
        """
        items = response.embeddings if self.task == "embedding" else response.choices
        each = 1 if self.task == "embedding" else requests[0].n
        if len(items) != each * sum(len(request.inputs) for request in requests):
            return [None] * len(requests)
        found: list[Response | None] = []
        at = 0
        for request in requests:
            end = at + each * len(request.inputs)
            has_failed = any(choice.finish_reason == "error" for choice in response.choices[at:end])
            found.append(None if has_failed else self._slice(response, at, end))
            at = end
        return found

    def join(self, request: Request, responses: Sequence[Response]) -> Response:  # noqa: ARG002  # see BatchStrategy
        """Return one response with the items of all responses, in order.

        Raises:
            MalformedResponse: a fallback embedded some of the texts by another model.
        """
        models = sorted({one.model for one in responses})
        if (
            self.task == "embedding"
            and len(models) > 1
            and len({one.fallback for one in responses}) > 1
        ):
            raise MalformedResponse(
                f"a fallback embedded some of the texts: the models are {' and '.join(models)}, "
                "whose vectors cannot be compared",
                billed="maybe",
            )
        whole = attrs.evolve(
            responses[0],
            choices=tuple(choice for one in responses for choice in one.choices),
            embeddings=tuple(vector for one in responses for vector in one.embeddings),
        )
        return self._slice(whole, 0, len(whole.choices) + len(whole.embeddings))

    def _slice(self, response: Response, start: int, end: int) -> Response:
        """Return a response with some of the items. It has no body: that has all of them."""
        if self.task == "embedding":
            vectors = response.embeddings[start:end]
            return attrs.evolve(response, body=None, is_assembled=False, embeddings=vectors)
        choices = response.choices[start:end]
        return attrs.evolve(
            response,
            body=None,
            is_assembled=False,
            choices=choices,
            text=choices[0].text,
            finish_reason=choices[0].finish_reason,
        )
