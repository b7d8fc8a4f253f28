"""Endpoints that take a list: embeddings of several texts, completions of several prompts."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal

import attrs

from ..messages import Json, Request, Response
from ..vendors import BatchLimits, BatchWeight
from .strategy import common_key

__all__ = [
    "ListStrategy",
]


ResponseBodyJson = Mapping[str, Json] | None


@attrs.frozen
class ListStrategy:
    """The texts of several requests in one (see `Strategy`).

    Embeddings come in the order of the texts. Answer j to prompt i of n each is number
    ``i * n + j``, which is how the wire format hands them out, whatever their order was.

    Args:
        task: of which requests.
        bounds: what the endpoint takes in one call.
    """

    task: Literal["completion", "embedding"]
    bounds: BatchLimits

    name = "list"
    check_share = 0.0
    least_agreement = 0.5

    def key(self, request: Request) -> Hashable | None:
        """The whole request but its texts."""
        return common_key(request, "inputs") if request.task == self.task else None

    def pieces(self, request: Request, weigh: Callable[[str], BatchWeight]) -> Sequence[Request]:
        """Parts that are each as full as the next text allows."""
        parts: list[list[str]] = []
        total = BatchWeight()
        for text in request.inputs:
            weight = weigh(text)
            total = total.plus(weight)
            if parts and self.bounds.has_room(total):
                parts[-1].append(text)
            else:
                parts.append([text])
                total = weight
        if len(parts) == 1:
            return (request,)
        return [attrs.evolve(request, inputs=texts) for texts in parts]

    def texts(self, request: Request) -> Sequence[str]:
        """All of them."""
        return request.inputs

    def combine(self, requests: Sequence[Request]) -> Request:
        """One request for all texts."""
        texts = tuple(text for request in requests for text in request.inputs)
        return attrs.evolve(requests[0], inputs=texts)

    def split(self, requests: Sequence[Request], response: Response) -> Sequence[Response | None]:
        """To each its own; nobody has any if their number is wrong (L5)."""
        answers = response.embeddings if self.task == "embedding" else response.choices
        each = 1 if self.task == "embedding" else requests[0].n
        if len(answers) != each * sum(len(request.inputs) for request in requests):
            return [None] * len(requests)
        bodies = _Bodies.of(response.body, self._member)
        found: list[Response | None] = []
        at = 0
        for request in requests:
            end = at + each * len(request.inputs)
            found.append(self._part(response, bodies.part(at, end), at, end))
            at = end
        return found

    def join(self, request: Request, answers: Sequence[Response]) -> Response:  # noqa: ARG002  # see Strategy
        """All of them, one after the other."""
        whole = attrs.evolve(
            answers[0],
            choices=tuple(choice for answer in answers for choice in answer.choices),
            embeddings=tuple(vector for answer in answers for vector in answer.embeddings),
        )
        bodies = [_Bodies.of(answer.body, self._member) for answer in answers]
        end = len(whole.choices) + len(whole.embeddings)
        return self._part(whole, _Bodies.joined(bodies).part(0, end), 0, end)

    @property
    def _member(self) -> str:
        """Where a body has its answers."""
        return "data" if self.task == "embedding" else "choices"

    def _part(self, response: Response, body: ResponseBodyJson, start: int, end: int) -> Response:
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
    """A body whose answers are of several requests.

    Args:
        member: where they are.
        items: the answers in the order of their numbers; None if there is no such body.
        rest: its other members. The usage is not among them, which is everybody's.
    """

    member: str
    items: list[dict[str, Json]] | None
    rest: Mapping[str, Json]

    @classmethod
    def of(cls, body: ResponseBodyJson, member: str) -> "_Bodies":
        """The answers in a body, which the wire format has found to be in order."""
        listed = None if body is None else body.get(member)
        if body is None or not isinstance(listed, list):
            return cls(member, None, {})
        items = [item for item in listed if isinstance(item, dict)]
        numbers = [item.get("index") for item in items]
        # What says no number stands for its position.
        places = [number if isinstance(number, int) else at for at, number in enumerate(numbers)]
        ordered = [items[at] for at in sorted(range(len(items)), key=places.__getitem__)]
        rest = {name: value for name, value in body.items() if name not in (member, "usage")}
        return cls(member, ordered, rest)

    @classmethod
    def joined(cls, bodies: Sequence["_Bodies"]) -> "_Bodies":
        """All of them, one after the other."""
        items: list[dict[str, Json]] | None = []
        for one in bodies:
            items = None if items is None or one.items is None else items + one.items
        return attrs.evolve(bodies[0], items=items)

    def part(self, start: int, end: int) -> ResponseBodyJson:
        """The body of some of them alone."""
        if self.items is None:
            return None
        own: list[Json] = [{**item, "index": at} for at, item in enumerate(self.items[start:end])]
        return {**self.rest, self.member: own}
