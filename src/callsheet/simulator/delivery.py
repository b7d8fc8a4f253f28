"""Plan the delivery of a response: which bytes are sent when, and how a fault changes that.

Pure: `PlannedResponse` carries out the plan (R14).
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Literal

import attrs

from .call import ModelAnswer
from .faults import Fault, Faults

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


_HTML_BODY = {"content-type": "text/html; charset=utf-8"}
_HTML = b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body></body></html>\n"
_SLOW_PIECE = 64
_GZIP_WINDOW = 31  # selects the gzip format in zlib


def inject_fault(
    plan: Delivery, fault: Fault, faults: Faults, *, error_body: bytes, error_event: bytes
) -> Delivery:
    """Return the delivery with a fault.

    Args:
        plan: the delivery without a fault.
        fault: the fault to inject.
        faults: the durations of slow faults.
        error_body: the vendor's error body, for a response that is an error.
        error_event: the vendor's error event, for a stream that fails.
    """
    inject = _INJECTORS.get(fault.kind)
    if inject is None:  # no_usage: the response was made without usage
        return plan
    return inject(_Case(plan, fault, faults, error_body, error_event))


@attrs.frozen
class _Case:
    plan: Delivery
    fault: Fault
    faults: Faults
    error_body: bytes
    error_event: bytes

    @property
    def whole(self) -> DeliveryStep:
        """The whole body, sent at the time of its end."""
        steps = self.plan.steps
        tokens = sum(step.output_tokens for step in steps)
        return DeliveryStep(steps[-1].at, b"".join(step.data for step in steps), tokens)

    @property
    def half(self) -> tuple[DeliveryStep, ...]:
        """The first half of a stream's steps, or one step with half of its bytes."""
        steps = self.plan.steps
        if self.plan.stream:
            return steps[: len(steps) // 2]
        return (_first_half(steps[0]),)


def _first_half(step: DeliveryStep) -> DeliveryStep:
    return attrs.evolve(step, data=step.data[: len(step.data) // 2])


def _reset(case: _Case) -> Delivery:
    ends_at = case.whole.at if case.fault.kind == "reset" else case.faults.stall_s
    return attrs.evolve(case.plan, steps=(), input_tokens=0, ending="reset", ends_at=ends_at)


def _lost(case: _Case) -> Delivery:
    done = case.whole
    return attrs.evolve(
        case.plan, steps=(), unsent_tokens=done.output_tokens, ending="reset", ends_at=done.at
    )


def _truncate(case: _Case) -> Delivery:
    plan, steps = case.plan, case.half
    if plan.stream:  # in the middle of an event
        bit = _first_half(plan.steps[len(steps)])
        steps = (*steps, attrs.evolve(bit, output_tokens=0))
    promised = len(case.whole.data)
    ending: DeliveryEnding = "broken" if case.fault.kind == "truncate" else "reset"
    return attrs.evolve(plan, steps=steps, promised=promised, ending=ending)


def _cut(case: _Case) -> Delivery:
    return attrs.evolve(case.plan, steps=case.half)


def _error_event(case: _Case) -> Delivery:
    if case.plan.stream:
        steps = (*case.half, DeliveryStep(case.half[-1].at, case.error_event))
        return attrs.evolve(case.plan, steps=steps)
    return attrs.evolve(
        case.plan, steps=(DeliveryStep(case.whole.at, case.error_body),), input_tokens=0
    )


def _malformed(case: _Case) -> Delivery:
    if case.fault.body == "json":
        return attrs.evolve(case.plan, steps=(_first_half(case.whole),))
    page = attrs.evolve(case.whole, data=_HTML)
    return attrs.evolve(case.plan, steps=(page,), headers=_HTML_BODY)


def _slow(case: _Case) -> Delivery:
    start, body = case.whole.at, case.whole.data
    steps = [
        DeliveryStep(start + i * case.faults.slow_gap_s, body[place : place + _SLOW_PIECE])
        for i, place in enumerate(range(0, len(body), _SLOW_PIECE))
    ]
    steps[0] = attrs.evolve(steps[0], output_tokens=case.whole.output_tokens)
    return attrs.evolve(case.plan, steps=tuple(steps))


def _gzip(case: _Case) -> Delivery:
    zipper = zlib.compressobj(wbits=_GZIP_WINDOW)
    *others, last = case.plan.steps
    steps = [
        # Flushed for each piece, so that the client can decode it at once.
        attrs.evolve(step, data=zipper.compress(step.data) + zipper.flush(zlib.Z_SYNC_FLUSH))
        for step in others
    ]
    steps.append(attrs.evolve(last, data=zipper.compress(last.data) + zipper.flush()))
    headers = {**case.plan.headers, "content-encoding": "gzip"}
    return attrs.evolve(case.plan, steps=tuple(steps), headers=headers)


_INJECTORS: Mapping[str, Callable[[_Case], Delivery]] = {
    "reset": _reset,
    "stall": _reset,
    "lost": _lost,
    "truncate": _truncate,
    "reset_body": _truncate,
    "cut": _cut,
    "error_event": _error_event,
    "malformed": _malformed,
    "slow": _slow,
    "gzip": _gzip,
}
