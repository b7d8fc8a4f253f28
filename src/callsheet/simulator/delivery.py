"""How an answer is handed over: which bytes at what time, and how it ends.

Pure: a plan, which `Job` carries out (R14).
"""

from typing import Literal

import attrs

from .call import ModelAnswer

__all__ = [
    "JSON_BODY",
    "Delivery",
    "DeliveryEnding",
    "DeliveryStep",
    "delivered",
]


JSON_BODY = {"content-type": "application/json"}
DeliveryEnding = Literal["whole", "broken", "reset"]
_EVENT_BODY = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


@attrs.frozen
class DeliveryStep:
    """Some bytes of a body.

    Args:
        at: when they are sent, in seconds after the request.
        data: the bytes.
        output_tokens: how many tokens were produced for them.
    """

    at: float
    data: bytes = attrs.field(repr=False)
    output_tokens: int = 0


@attrs.frozen(kw_only=True)
class Delivery:
    """A plan.

    Args:
        steps: the body, in order of time.
        headers: of its type.
        stream: whether it is a stream, which nobody works on once its client is gone.
        input_tokens: billed for the prompt.
        unsent_tokens: billed for an answer of which nothing is sent.
        promised: "content-length", when that is not the length of all steps; None for that.
        ending: the body ends as it should, short of what was promised, or in a reset.
        ends_at: when a body that does not end as it should does, in seconds after the request.
    """

    steps: tuple[DeliveryStep, ...]
    headers: dict[str, str]
    stream: bool
    input_tokens: int = 0
    unsent_tokens: int = 0
    promised: int | None = None
    ending: DeliveryEnding = "whole"
    ends_at: float = 0.0

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers with the length, which a stream does not have."""
        if self.stream:
            return self.headers
        length = sum(len(step.data) for step in self.steps)
        promised = length if self.promised is None else self.promised
        return {**self.headers, "content-length": str(promised)}


def delivered(answer: ModelAnswer, *, stream: bool, latency_s: float, first: float) -> Delivery:
    """The plan of an answer that nothing goes wrong with.

    A stream's pieces come evenly from its first one on, and the last of them with the end when the
    whole answer would have come.

    Args:
        answer: what is handed over.
        stream: whether it is a stream.
        latency_s: when its last byte comes, in seconds after the request.
        first: the share of that after which a stream's first piece comes.
    """
    if not stream:
        step = DeliveryStep(latency_s, answer.body, answer.output_tokens)
        return Delivery(
            steps=(step,), headers=JSON_BODY, stream=False, input_tokens=answer.input_tokens
        )
    start = first * latency_s
    gap = (latency_s - start) / max(1, len(answer.pieces) - 1)
    steps = [
        DeliveryStep(start + i * gap, piece.data, piece.output_tokens)
        for i, piece in enumerate(answer.pieces)
    ]
    last = steps.pop() if len(steps) > 1 else DeliveryStep(latency_s, b"")
    steps.append(DeliveryStep(latency_s, last.data + answer.end, last.output_tokens))
    return Delivery(
        steps=tuple(steps), headers=_EVENT_BODY, stream=True, input_tokens=answer.input_tokens
    )
