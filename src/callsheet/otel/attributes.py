"""What spans and metrics say of requests, responses and errors: pure functions (R14)."""

from collections.abc import Mapping
from functools import lru_cache

from opentelemetry.util.types import AttributeValue

from ..actors import CallContext, CallEvent, CallFailed, Destination, Request, Response, Usage
from . import names
from .names import ConventionNames

_ID_MEMBERS = ("id", "responseId")  # of a body


@lru_cache(maxsize=1000)
def operation_attributes(
    task: str, model: str, destination: Destination | None
) -> Mapping[str, AttributeValue]:
    """Return the attributes that spans and metrics of a call have. Do not change them.

    Args:
        task: the task of the request.
        model: the requested model.
        destination: where the call is sent first; None if it is not known.
    """
    found: dict[str, AttributeValue] = {
        names.OPERATION: names.OPERATIONS[task],
        names.REQUEST_MODEL: valid_text(model),
    }
    if destination is None:
        found[names.PROVIDER] = "_OTHER"
    else:
        vendor = destination.vendor
        found[names.PROVIDER] = names.PROVIDERS.get(vendor, vendor)
        found |= server_attributes(destination)
    return found


@lru_cache(maxsize=1000)
def server_attributes(destination: Destination) -> Mapping[str, AttributeValue]:
    """Return address and port of a server. Do not change them.

    Args:
        destination: the endpoint of a call or an attempt.
    """
    return {names.SERVER_ADDRESS: destination.host, names.SERVER_PORT: destination.port}


def context_attributes(context: CallContext) -> dict[str, AttributeValue]:
    """Return the ids of a call.

    Args:
        context: the ids as events have them.
    """
    found: dict[str, AttributeValue] = {names.CALL_ID: valid_text(context.call)}
    if context.post is not None:
        found[names.POST_ID] = valid_text(context.post)
    if context.step is not None:
        found[names.STEP] = context.step
    if context.lane:
        found[names.LANE] = valid_text(context.lane)
    if context.shared_as:
        found[names.SHARED_AS] = context.shared_as
        found[names.SHARED_CALLS] = len(context.shared_by)
    return found


def valid_text(text: str) -> str:
    """Return a text that can be encoded in UTF-8, which exporters require.

    Args:
        text: a text of the caller or the provider.
    """
    return text if text.isascii() else text.encode(errors="replace").decode()


def request_attributes(request: Request) -> dict[str, AttributeValue]:
    """Return the parameters of a request that it sets.

    Args:
        request: the request of the caller.
    """
    given: tuple[tuple[str, AttributeValue | None], ...] = (
        ("gen_ai.request.max_tokens", request.max_tokens),
        ("gen_ai.request.temperature", request.temperature),
        ("gen_ai.request.top_p", request.top_p),
        ("gen_ai.request.seed", request.seed),
        ("gen_ai.request.stop_sequences", [valid_text(one) for one in request.stop] or None),
        ("gen_ai.request.choice.count", None if request.n == 1 else request.n),
        ("gen_ai.embeddings.dimension.count", request.dimensions),
        ("gen_ai.request.reasoning.level", _reasoning_level(request)),
    )
    found: dict[str, AttributeValue] = {name: value for name, value in given if value is not None}
    if request.json_schema is not None or request.returns is not None:
        found["gen_ai.output.type"] = "json"
    return found


def _reasoning_level(request: Request) -> str | None:
    """Return how much a model is to reason, as the members of a body say it."""
    level = request.extra_body.get("reasoning_effort")
    if level is None:
        reasoning = request.extra_body.get("reasoning")
        level = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return valid_text(level) if isinstance(level, str) else None


def response_attributes(
    response: Response, of_version: ConventionNames
) -> dict[str, AttributeValue]:
    """Return what a span says of the response of a call.

    Args:
        response: the response that the caller gets.
        of_version: the names of the version that is used.
    """
    found: dict[str, AttributeValue] = {
        names.RESPONSE_MODEL: valid_text(response.model),
        names.ROUTE: valid_text(response.route),
        names.HTTP_REQUESTS: response.http_requests,
    }
    if reasons := _finish_reasons(response):
        found[names.FINISH_REASONS] = reasons
    body: Mapping[str, object] = response.body or {}
    id_ = next((body[name] for name in _ID_MEMBERS if name in body), None)
    if isinstance(id_, str):
        found[names.RESPONSE_ID] = valid_text(id_)
    if response.http_requests or response.usage != Usage():
        found |= usage_attributes(response.usage, of_version)
    if response.cost_usd is not None:
        found[names.COST_USD] = float(response.cost_usd)
    if response.usage_doubt:
        found[names.USAGE_DOUBT] = response.usage_doubt
    if response.maybe_billed:
        found[names.MAYBE_BILLED] = response.maybe_billed
    if response.key_name:
        found[names.KEY_NAME] = valid_text(response.key_name)
    return found


def _finish_reasons(response: Response) -> list[str]:
    given = [choice.finish_reason for choice in response.choices] or [response.finish_reason]
    return [valid_text(reason) for reason in given if reason is not None]


def usage_attributes(usage: Usage, of_version: ConventionNames) -> dict[str, AttributeValue]:
    """Return the tokens of a call; parts of them only if there are any.

    Args:
        usage: the tokens that were reported.
        of_version: the names of the version that is used.
    """
    found: dict[str, AttributeValue] = {
        names.INPUT_TOKENS: usage.input_tokens,
        names.OUTPUT_TOKENS: usage.output_tokens,
    }
    parts = (
        (names.CACHE_READ_TOKENS, usage.cached_tokens),
        (of_version.cache_write_tokens, usage.cache_write_tokens),
        (names.REASONING_TOKENS, usage.reasoning_tokens),
    )
    found |= {name: count for name, count in parts if count}
    return found


def error_type(event: CallEvent) -> str | None:
    """Return why a call or an attempt has no response; None if it has one.

    It has few values: an HTTP status, the class of an exception, or "cancelled".

    Args:
        event: the last event of a call, an attempt or a post.
    """
    failure = event.failure
    if failure is None:
        is_cancelled = event.is_cancelled or event.stage == "cancelled"
        return "cancelled" if is_cancelled else None
    if isinstance(failure, CallFailed) and failure.status is not None:
        return str(failure.status)
    return type(failure).__name__
