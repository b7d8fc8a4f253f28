"""Plan the delivery of a response: which bytes are sent when, and how it ends.

Pure: `DeliveryJob` carries out the plan (R14).
"""

from typing import Literal

import attrs

from .call import ModelAnswer

JSON_BODY = {"content-type": "application/json"}
DeliveryEnding = Literal["whole", "broken", "reset"]
_EVENT_BODY = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


@attrs.frozen
class DeliveryStep:
    """Some bytes of a body.

    Args:
        at: the time to send them, in seconds after the request.
        data: the bytes.
        output_tokens: the number of output tokens produced for them.
    """

    at: float
    data: bytes = attrs.field(repr=False)
    output_tokens: int = 0


@attrs.frozen(kw_only=True)
class Delivery:
    """The plan of a delivery.

    Args:
        steps: the body, in order of time.
        headers: the headers for the type of the body.
        stream: True for a stream, which stops when its client disconnects.
        input_tokens: the tokens billed for the prompt.
        unsent_tokens: the tokens billed for a response of which nothing is sent.
        promised: "content-length", if it differs from the length of all steps; else None.
        ending: how the body ends: complete, shorter than promised, or with a reset.
        ends_at: when an incomplete body ends, in seconds after the request.
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
        """The headers, with the length unless it is a stream."""
        if self.stream:
            return self.headers
        length = sum(len(step.data) for step in self.steps)
        promised = length if self.promised is None else self.promised
        return {**self.headers, "content-length": str(promised)}


def delivered(answer: ModelAnswer, *, stream: bool, latency_s: float, first: float) -> Delivery:
    """Plan the delivery of a response without a fault.

    The pieces of a stream are evenly spaced; the last one is sent when a whole response would be.

    Args:
        answer: the response to deliver.
        stream: True for a stream.
        latency_s: the time of the last byte, in seconds after the request.
        first: the share of the latency after which the first piece of a stream is sent, 0 to 1.
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
