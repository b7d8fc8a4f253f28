"""The result of a response: its text as a value of the declared class, or a second request for one.

The second request is a call of its own, with an id of its own in events and in the ledger. It has
the first response and the reason why it is not valid as further messages.
"""

from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING, Generic, cast

import attrs
import trio

from .calls import CallContext
from .chat_message import ChatMessage
from .errors import CallFailed
from .messages import Request
from .responses import Choice, Response, ResultT_co, sum_of_costs

if TYPE_CHECKING:
    from .typed import ResultType, SchemaResult  # loads msgspec

Again = Callable[[Request, CallContext, float], Awaitable[Response]]
"""Makes a call: the request, its context, and the seconds for the whole call."""

# Reasons why a generation ended that say that its text is not complete, in the words of an error.
_CUT_OFF = {
    "length": "the text was cut off at the limit of its tokens",
    "content_filter": "the provider filtered the text",
}
_MORE_TO_SAY = "pause_turn"  # Anthropic's, after tools of its own: the model goes on if asked to
_REPAIR = """\
Your response is not valid: {reason}

Respond to the original request again, with nothing but JSON that matches its schema."""


class ResultNotValid(CallFailed):
    """A response that was paid for does not match the class that `Request.returns` names.

    Args:
        message: what is not valid, and where.
        response: the last response, with the usage and cost of both requests.
        reason: why its text is not valid.

    Attributes:
        response: the last response, with the usage, cost and HTTP requests of both requests. Its
            text is what the model wrote.
        reason: why its text does not match.
    """

    def __init__(self, message: str, *, response: Response, reason: str) -> None:
        super().__init__(
            message,
            attempts=response.http_requests,
            billed="maybe" if response.maybe_billed else "no",
            request_id=response.request_id,
        )
        self.usage, self.cost_usd = response.usage, response.cost_usd
        self.response = response
        self.reason = reason
        self.maybe_billed = response.maybe_billed


async def with_result(
    response: Response,
    request: Request[ResultT_co],
    context: CallContext,
    again: Again,
    *,
    due: float = inf,
) -> Response[ResultT_co]:
    """Return a response with its result, after a second request if the first text is not valid.

    A refusal, or a text that was cut off or filtered, is not asked for again: the outcome would be
    the same. A response that calls tools, or that goes on in the next turn, has no result yet.

    Args:
        response: the response to the request.
        request: a request that declares the class of its result.
        context: the ids of the call.
        again: makes the second call.
        due: when the result is needed, on Trio's clock.

    Raises:
        ResultNotValid: the result is not valid, or the second request has failed.
        AskFailed: the runtime ended the second call, for example because of the timeout.
    """
    parsed = _parse(response, request)
    reason, left = parsed.reason, due - trio.current_time()
    if not reason:
        return parsed.response
    if parsed.is_final or left <= 0:
        raise _not_valid(request, response, reason)
    second = _repair(request, response.text, reason, left)
    try:
        repaired = await again(second, attrs.evolve(context, call=f"{context.call}.repair"), left)
    except CallFailed as error:
        paid = attrs.evolve(
            response,
            usage=response.usage + error.usage,
            cost_usd=sum_of_costs(response.cost_usd, error.cost_usd),
        )
        failed = _not_valid(request, paid, f"{reason}; the second request failed: {error}")
        failed.attempts += error.attempts
        failed.maybe_billed += error.maybe_billed
        failed.billed = "maybe" if "maybe" in (error.billed, failed.billed) else "no"
        raise failed from error
    both = _together(response, repaired)
    parsed = _parse(both, request)
    if parsed.reason:
        raise _not_valid(request, both, parsed.reason)
    return parsed.response


@attrs.frozen
class _Parsed(Generic[ResultT_co]):
    """A response with what its choices were read as.

    Args:
        response: the response with its results.
        reason: why the first choice is not valid; empty if it is, or if it is not the last turn.
        is_final: whether a second request would not help.
    """

    response: Response[ResultT_co]
    reason: str
    is_final: bool


def _parse(response: Response, request: Request[ResultT_co]) -> _Parsed[ResultT_co]:
    from .typed import result_type  # noqa: PLC0415  # loads msgspec

    known = result_type(cast("object", request.returns))
    choices = response.choices or (Choice(response.text, response.finish_reason),)
    read = [_read(choice, known) for choice in choices]
    first, reason, is_final = read[0]
    with_results = attrs.evolve(
        response,
        parsed=first,
        choices=tuple(
            attrs.evolve(choice, parsed=value)
            for choice, (value, *_) in zip(choices, read, strict=True)
        ),
    )
    return _Parsed(cast("Response[ResultT_co]", with_results), reason, is_final)


def _read(choice: Choice, known: "ResultType | SchemaResult") -> tuple[object, str, bool]:
    """Return the result of a choice, why it has none, and whether that is final."""
    from .typed import InvalidResult  # noqa: PLC0415  # loads msgspec

    if choice.refusal is not None:
        return None, f"the model refused: {choice.refusal}", True
    if choice.finish_reason in _CUT_OFF:
        return None, _CUT_OFF[choice.finish_reason], True
    if choice.tool_calls or choice.finish_reason == _MORE_TO_SAY:
        return None, "", True
    try:
        return known.read(choice.text), "", False
    except InvalidResult as error:
        return None, str(error), False


def _repair(request: Request, text: str, reason: str, left: float) -> Request:
    """Return the request for a valid response."""
    said = (ChatMessage("assistant", text),) if text.strip() else ()  # no provider takes none
    asked = ChatMessage("user", _REPAIR.format(reason=reason))
    return attrs.evolve(
        request,
        messages=(*request.messages, *said, asked),
        n=1,
        packable=False,
        deadline=None if request.deadline is None else left,
        idempotency_key="",
    )


def _together(first: Response, second: Response) -> Response:
    """Return the second response with the usage and cost of both."""
    return attrs.evolve(
        second,
        usage=first.usage + second.usage,
        cost_usd=sum_of_costs(first.cost_usd, second.cost_usd),
        reported_cost_usd=sum_of_costs(first.reported_cost_usd, second.reported_cost_usd),
        listed_cost_usd=sum_of_costs(first.listed_cost_usd, second.listed_cost_usd),
        http_requests=first.http_requests + second.http_requests,
        maybe_billed=first.maybe_billed + second.maybe_billed,
        choices=(*second.choices, *first.choices[1:]),
    )


def _not_valid(request: Request, response: Response, reason: str) -> ResultNotValid:
    from .typed import result_type  # noqa: PLC0415  # loads msgspec

    name = result_type(cast("object", request.returns)).output.name
    source = " from the cache" if response.route == "cache" else ""
    message = f"the response{source} is no valid {name}: {reason}"
    return ResultNotValid(message, response=response, reason=reason)
