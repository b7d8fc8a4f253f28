"""Endpoints that take a list: embeddings of several texts, completions of several prompts."""

from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import attrs

from ..messages import Request, Response
from .strategy import common_key
from .weight import Bounds, Weight

__all__ = ["ListStrategy"]


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
    bounds: Bounds

    name = "list"
    check_share = 0.0
    least_agreement = 0.5

    def key(self, request: Request) -> Hashable | None:
        """The whole request but its texts."""
        return common_key(request, "inputs") if request.task == self.task else None

    def pieces(self, request: Request, weigh: Callable[[str], Weight]) -> Sequence[Request]:
        """Parts that are each as full as the next text allows."""
        parts: list[list[str]] = []
        total = Weight()
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
        found: list[Response | None] = []
        at = 0
        for request in requests:
            end = at + each * len(request.inputs)
            found.append(self._part(response, at, end))
            at = end
        return found

    def join(self, request: Request, answers: Sequence[Response]) -> Response:  # noqa: ARG002  # see Strategy
        """All of them, one after the other."""
        whole = attrs.evolve(
            answers[0],
            choices=tuple(choice for answer in answers for choice in answer.choices),
            embeddings=tuple(vector for answer in answers for vector in answer.embeddings),
        )
        return self._part(whole, 0, len(whole.choices) + len(whole.embeddings))

    def _part(self, response: Response, start: int, end: int) -> Response:
        if self.task == "embedding":
            return attrs.evolve(response, embeddings=response.embeddings[start:end])
        choices = response.choices[start:end]
        return attrs.evolve(
            response,
            choices=choices,
            text=choices[0].text,
            finish_reason=choices[0].finish_reason,
        )
