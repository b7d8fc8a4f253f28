"""What the stages of a program make of a request, for the plan of a call that is not sent."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import inf
from typing import TypeVar

import attrs

from ...runtime import Message, Ref, UnhandledMessage
from ..calls import CallContext
from ..messages import Request
from ..rate_limit import Cost, Explanation, TokenEstimator
from ..responses import Usage
from ..routing import Quote, RouteChoice
from .insertion import STAGE_NAMES, StageName

T = TypeVar("T")


@attrs.frozen
class ExplainStage(Message[Request]):
    """Ask a stage which request it would pass on. Nothing is sent.

    `Stage` handles it. Another actor that changes requests may handle it as well, so that
    `Troupe.explain` knows of the change.

    Args:
        request: the request that would arrive.
        context: the ids of the call.
    """

    request: Request
    context: CallContext


async def requests_at(
    inserted: Mapping[StageName, Sequence[Ref]], request: Request, context: CallContext
) -> Mapping[StageName, Request]:
    """Return the request as each built-in stage would get it.

    Args:
        inserted: the stages of the program before each built-in one.
        request: the request of the caller.
        context: the ids of the call.

    Raises:
        CallFailed: a stage of the program refuses the request.
    """
    found: dict[StageName, Request] = {}
    for name in STAGE_NAMES:
        for ref in inserted.get(name, ()) if name != "batches" else ():
            request = await ask_or(ref, ExplainStage(request, context), request)
        found[name] = request
    return found


async def ask_or(ref: Ref, message: Message[T], default: T) -> T:
    """Ask a stage; return a default if it has no handler for the message.

    A stage of the program that stands instead of a built-in one need not explain itself.

    Args:
        ref: the stage, built in or of the program.
        message: the question about a call, which sends nothing.
        default: the answer of a stage that has none.
    """
    try:
        return await ref.ask(message)
    except UnhandledMessage:
        return default


def choice_without_router(usage: Usage) -> RouteChoice:
    """Return the choice of a stage that stands instead of the router, and whose cost is unknown.

    Args:
        usage: the tokens that the call would probably use.
    """
    quote = Quote(route="live", cost_usd=None, factor=Decimal(1), expected_s=0.0, latest_s=inf)
    return RouteChoice(chosen=quote, quotes=(quote,), usage=usage)


def limits_without_limiter(request: Request) -> Explanation:
    """Return the limits of a stage that stands instead of the limiter: the call waits for nothing.

    Args:
        request: the request that the stage would get.
    """
    estimate = TokenEstimator().estimate(request)
    cost = Cost(input_tokens=estimate.input_tokens, output_tokens=estimate.output_tokens)
    return Explanation(0.0, "", 0, cost)
