"""The events of a call, which an observer receives, and the observer that logs them.

An observer is a function that takes a `CallEvent`. The live display, the trace, the log and
OpenTelemetry are observers.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Literal, cast, final, get_args

import attrs
import httpx

from callsheet.runtime import get_logger

from .calls import CallContext
from .messages import Request
from .responses import Choice, Response, ToolCall, Usage

CallStage = Literal[
    "asked",  # the caller asked for a response
    "queued",  # the call waits at the limiter
    "admitted",  # the limiter let the call pass
    "sent",  # an HTTP request is being sent
    "retrying",  # an attempt failed, and another one follows
    "rerouted",  # the call is sent live, and not in a batch
    "answered",  # the response is complete
    "shared",  # the call of an identical request supplied the response
    "failed",  # the call failed and is not retried
    "cancelled",  # the caller cancelled the call
    # The others are details, which only an observer gets that names them in its `stages`.
    "ended",  # an HTTP request or a line of a batch has ended, with a response or without one
    "joined",  # the call follows the call of an identical request
    "combined",  # several calls are sent as this one
    "split",  # a combined call has ended
    "resumed",  # the call gets its response from a batch that an earlier call was sent in
    "composing",  # a post is begun; its calls follow
    "composed",  # a post has ended, whichever way
    "tool_started",  # a tool that the model requests is run
    "tool_ended",  # it has ended, whichever way
]
"""What has happened to a call, a post or a tool; docs/observability.md explains each stage."""


@attrs.frozen
class Destination:
    """An endpoint as events name it.

    Args:
        vendor: the name of the vendor, such as "openai".
        host: the name or the address of the host.
        port: the port, also if the URL has none.
    """

    vendor: str
    host: str
    port: int

    @classmethod
    def of(cls, vendor: str, url: str) -> "Destination":
        """Return the destination with a URL.

        Args:
            vendor: the name of the vendor.
            url: the base URL of the endpoint.
        """
        parsed = httpx.URL(url)
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        return cls(vendor, parsed.host, port)


@attrs.frozen(kw_only=True, slots=False)
class CallEvent:
    """One event of one call, one post, or one tool.

    It has no slots: setting the slot of each field of a frozen object takes three times as long as
    filling its dictionary.

    All events of one call have the same object as `context`, also if two calls have the same id.
    Beginnings and ends of calls, posts and tools are reported with the context variables of the
    caller, unless the call was submitted: then its end is not.

    Args:
        stage: the kind of the event.
        at: the time in seconds on Trio's clock.
        context: the ids of the call; on "composing" and "composed", those of the post; of a tool,
            those of the run.
        model: the requested model; on "answered" and "shared", the model that responded; "" for a
            post.
        attempt: the number of the HTTP request, from 1; 0 before the first.
        usage: the tokens used, on "answered" and "shared"; on "failed" those of responses that were
            paid for before, if there are any.
        cost_usd: their cost in USD, on "answered" and "failed"; None when the price is not known.
        listed_cost_usd: the cost in USD by the table of prices, on "answered", where `cost_usd` is
            what the provider reports; None otherwise.
        usage_doubt: why `usage` is not what the provider reports, on "answered"; "" if it is.
        error: the error message, on "retrying", "failed", "ended", "split", "composed" and
            "tool_ended"; on "rerouted", the reason.
        delay: seconds until the next attempt, on "retrying".
        route: the route of the attempt, on "sent": "live" or "batch".
        is_unreachable: whether the failed attempt never reached the provider, on "retrying".
        is_billed: whether the failed attempt may have been charged, on "retrying".
        key_name: the name of the key that responded, on "answered"; "" if it has none.
        destination: the endpoint of the attempt, on "sent"; the one where a call is sent first, on
            "asked"; None if it is not known.
        is_streamed: whether the caller receives the response piece by piece, on "asked".
        request: the request, on "asked", "combined" and "sent". It has the texts of the caller as
            they are at that stage.
        choices: what the model generated, on "ended".
        response: the response, on "answered", "shared" and "split". It has the texts of the model.
        failure: the exception whose message is `error`; None if there is none.
        is_cancelled: whether it was cancelled, on "ended", "split", "composed" and "tool_ended".
        first_byte_s: seconds from the sending of the request to the first byte of the body, on
            "ended"; None without a response.
        piece_times: when each piece of a streamed response was passed on, on Trio's clock, on
            "ended".
        status: the HTTP status of the response or refusal, on "ended"; None without one.
        leader: the call that is followed, on "joined"; None otherwise.
        batch: the id of the batch in the journal, on "sent" with the route "batch" and on
            "resumed"; "" otherwise.
        tool: the call of the tool, on "tool_started" and "tool_ended"; None otherwise.
    """

    stage: CallStage
    at: float
    context: CallContext
    model: str
    attempt: int = 0
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    listed_cost_usd: Decimal | None = None
    usage_doubt: str = ""
    error: str | None = None
    delay: float | None = None
    route: str = "live"
    is_unreachable: bool = False
    is_billed: bool = False
    key_name: str = ""
    destination: Destination | None = None
    is_streamed: bool = False
    request: Request | None = attrs.field(default=None, eq=False, repr=False)
    choices: tuple[Choice, ...] = attrs.field(default=(), eq=False, repr=False)
    response: Response | None = attrs.field(default=None, eq=False, repr=False)
    failure: Exception | None = attrs.field(default=None, eq=False, repr=False)
    is_cancelled: bool = False
    first_byte_s: float | None = None
    piece_times: tuple[float, ...] = attrs.field(default=(), repr=False)
    status: int | None = None
    leader: CallContext | None = None
    batch: str = ""
    tool: ToolCall | None = attrs.field(default=None, eq=False, repr=False)


Observer = Callable[[CallEvent], None]
"""A function that is called with each event of each call. It must return quickly."""

_DETAILS: frozenset[CallStage] = frozenset(
    (
        "ended",
        "joined",
        "combined",
        "split",
        "resumed",
        "composing",
        "composed",
        "tool_started",
        "tool_ended",
    )
)
_USUAL: frozenset[CallStage] = frozenset(get_args(CallStage)) - _DETAILS
_NONE: frozenset[CallStage] = frozenset()


@final
@attrs.frozen
class StageObserver:
    """An observer of some stages. No event is made for the others, which saves CPU time.

    Args:
        observe: called with each event of these stages.
        stages: the kinds of events that it gets.
    """

    observe: Observer
    stages: frozenset[CallStage]

    def __call__(self, event: CallEvent) -> None:
        """Pass on an event of one of the stages."""
        if event.stage in self.stages:
            self.observe(event)


def ignore(event: CallEvent) -> None:
    """Ignore an event. This is the default observer.

    Args:
        event: an event of any kind.
    """


def stages_of(observer: Observer) -> frozenset[CallStage]:
    """Return the stages whose events an observer wants.

    Args:
        observer: any observer. One with an attribute `stages`, such as a `StageObserver`, wants
            these; `ignore` wants none; any other wants all that are no details.
    """
    stages: frozenset[CallStage] | None = getattr(observer, "stages", None)
    if stages is not None:
        return stages
    return _NONE if observer is ignore else _USUAL


def all_of(observers: Observer | Iterable[Observer]) -> Observer:
    """Return one observer that passes each event to those that want it, in their order.

    Args:
        observers: one observer or several. One that is given twice gets each event once.

    Raises:
        TypeError: one of them is no function.
    """
    if callable(observers):
        return observers
    given = cast("object", observers)
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise _no_observer(given)
    observers = tuple(observers)
    for one in cast("tuple[object, ...]", observers):
        if not callable(one):
            raise _no_observer(one)
    different = {id(one): one for one in observers}.values()
    each = [(one, stages_of(one)) for one in different if stages_of(one)]
    if len(each) <= 1:
        return each[0][0] if each else ignore
    by_stage: dict[CallStage, tuple[Observer, ...]] = {
        stage: tuple(one for one, wanted in each if stage in wanted)
        for stage in _NONE.union(*(wanted for _, wanted in each))
    }

    def observe(event: CallEvent) -> None:
        for one in by_stage[event.stage]:
            one(event)

    return StageObserver(observe, frozenset(by_stage))


def _no_observer(value: object) -> TypeError:
    return TypeError(f"observer must be a function of a CallEvent, or several, not {value!r:.60}")


_log = get_logger("callsheet.calls")


def log_call(event: CallEvent) -> None:
    """Log the last event of a call, with the ids of its call, post and step (L9).

    Prompts, responses and API keys are not logged (L8).

    Args:
        event: an event of any kind; only "answered", "shared", "failed" and "cancelled" are logged.
    """
    if event.stage not in ("answered", "shared", "failed", "cancelled"):
        return
    usage, listed = event.usage, event.listed_cost_usd
    _log.info(
        f"call_{event.stage}",
        call=event.context.call,
        post=event.context.post,
        step=event.context.step,
        model=event.model,
        attempts=event.attempt,
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        cost_usd=None if event.cost_usd is None else float(event.cost_usd),
        error=event.error,
        **({} if listed is None else {"listed_cost_usd": float(listed)}),
        **({"usage_doubt": event.usage_doubt} if event.usage_doubt else {}),
        **({"key_name": event.key_name} if event.key_name else {}),
    )
