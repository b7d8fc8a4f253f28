"""The strategy for endpoints that take a list: embeddings of texts, completions of prompts."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal

import attrs

from ..messages import Json, Request, Response
from ..vendors import BatchLimits, BatchWeight
from .strategy import common_key

ResponseBodyJson = Mapping[str, Json] | None


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
        """Return all of the request except its texts."""
        return common_key(request, "inputs") if request.task == self.task else None

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

    def split(self, requests: Sequence[Request], response: Response) -> Sequence[Response | None]:
        """Return the share of each request; None for all if the number of items is wrong (L5)."""
        items = response.embeddings if self.task == "embedding" else response.choices
        each = 1 if self.task == "embedding" else requests[0].n
        if len(items) != each * sum(len(request.inputs) for request in requests):
            return [None] * len(requests)
        bodies = _Bodies.of(response.body, self._member)
        found: list[Response | None] = []
        at = 0
        for request in requests:
            end = at + each * len(request.inputs)
            found.append(self._slice(response, bodies.slice(at, end), at, end))
            at = end
        return found

    def join(self, request: Request, responses: Sequence[Response]) -> Response:  # noqa: ARG002  # see BatchStrategy
        """Return one response with the items of all responses, in order."""
        whole = attrs.evolve(
            responses[0],
            choices=tuple(choice for one in responses for choice in one.choices),
            embeddings=tuple(vector for one in responses for vector in one.embeddings),
        )
        bodies = [_Bodies.of(one.body, self._member) for one in responses]
        end = len(whole.choices) + len(whole.embeddings)
        return self._slice(whole, _Bodies.joined(bodies).slice(0, end), 0, end)

    @property
    def _member(self) -> str:
        """The member of a response body that holds the items."""
        return "data" if self.task == "embedding" else "choices"

    def _slice(self, response: Response, body: ResponseBodyJson, start: int, end: int) -> Response:
        if self.task == "embedding":
            return attrs.evolve(response, body=body, embeddings=response.embeddings[start:end])
        choices = response.choices[start:end]
        return attrs.evolve(
            response,
            body=body,
            choices=choices,
            text=choices[0].text,
            finish_reason=choices[0].finish_reason,
        )


@attrs.frozen
class _Bodies:
    """A response body with the items of several requests.

    Args:
        member: name of the member that holds the items.
        items: the items in the order of their indices; None without such a body.
        rest: the other members, without the usage, which is that of all requests.
    """

    member: str
    items: list[dict[str, Json]] | None
    rest: Mapping[str, Json]

    @classmethod
    def of(cls, body: ResponseBodyJson, member: str) -> "_Bodies":
        """Read the items of a body that the wire format has checked."""
        listed = None if body is None else body.get(member)
        if body is None or not isinstance(listed, list):
            return cls(member, None, {})
        items = [item for item in listed if isinstance(item, dict)]
        numbers = [item.get("index") for item in items]
        # An item without an index has the index of its position.
        places = [number if isinstance(number, int) else at for at, number in enumerate(numbers)]
        ordered = [items[at] for at in sorted(range(len(items)), key=places.__getitem__)]
        rest = {name: value for name, value in body.items() if name not in (member, "usage")}
        return cls(member, ordered, rest)

    @classmethod
    def joined(cls, bodies: Sequence["_Bodies"]) -> "_Bodies":
        """Return one body with the items of all bodies, in order."""
        items: list[dict[str, Json]] | None = []
        for one in bodies:
            items = None if items is None or one.items is None else items + one.items
        return attrs.evolve(bodies[0], items=items)

    def slice(self, start: int, end: int) -> ResponseBodyJson:
        """Return a body with the items from `start` to before `end` only."""
        if self.items is None:
            return None
        own: list[Json] = [{**item, "index": at} for at, item in enumerate(self.items[start:end])]
        return {**self.rest, self.member: own}
