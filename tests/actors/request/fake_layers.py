"""Fakes of the layers below one layer of a call, and of its surroundings."""

from math import inf
from random import Random

import attrs
import trio
from fakes import MODEL, URL, LoosePermit

from callsheet.actors import (
    BreakerPolicy,
    CallContext,
    Complete,
    Delta,
    Destination,
    Endpoint,
    ProviderUnavailable,
    Request,
    RetryPolicy,
    Target,
    Usage,
)
from callsheet.actors.request.breaker import EndpointBreaker
from callsheet.actors.request.context import CallProgress, RequestContext
from callsheet.actors.request.exchange import Exchanged, Prepared
from callsheet.actors.request.failures import AttemptFailed
from callsheet.actors.request.fallback import Fallback
from callsheet.actors.request.retry import RetryBudget
from callsheet.actors.request.spelling import AS_WRITTEN
from callsheet.actors.responses import Choice
from callsheet.actors.vendors import VENDORS, DecodedResponse, default_prices

FIRST = Target(Endpoint(URL))
SECOND = Target(Endpoint("http://second/v1"), "second-model")
AT_ONCE = RetryPolicy(max_attempts=5, base_s=0.0)
TOKENS = Usage(1000, 500)
EASILY_OPENED = BreakerPolicy(consecutive=1, pause_s=10.0, jitter=0.0)


def failed(kind=ProviderUnavailable, text="Busy.", *, billed="no", **more):
    """An attempt that failed."""
    return AttemptFailed(kind(text, billed=billed), **more)


def exchanged(text="Hello", *, model=MODEL, named=None, usage=TOKENS, host="provider"):
    """A response as the layers pass it on.

    Args:
        text: the text of its only choice.
        model: the requested model.
        named: the model that the provider names.
        usage: the tokens that the provider reports; None for none.
        host: where it comes from.
    """
    return Exchanged(
        request=Request.of("Hi", model=model),
        host=host,
        vendor=VENDORS["compatible"],
        response=DecodedResponse(choices=(Choice(text, "stop"),), model=named, usage=usage),
        seconds=1.5,
        first_byte_s=0.5,
        request_id="req-1",
    )


def prepared(*, stream=False, **request):
    """A request as it goes over the wire."""
    return Prepared(
        request=Request.of("Hi", **{"model": MODEL, **request}),
        form=None,
        url=None,
        body=b'{"stream": true}' if stream else b"{}",
        stream=stream,
    )


def progress(
    *,
    permit=None,
    account=None,
    retry=AT_ONCE,
    throttle=None,
    extra_body=(),
    patience_s=inf,
    **fields,
):
    """The state of one call that has just begun."""
    asked = CallContext("Hi", patience_s=patience_s, asked_at=trio.current_time())
    request = attrs.evolve(Request.of("Hi", model=MODEL), extra_body=dict(extra_body))
    fields = {"deadline": lambda: inf, "idempotency_key": "key", **fields}
    return CallProgress(
        message=Complete(request, asked, permit=permit, account=account),
        budget=RetryBudget(retry, trio.current_time(), throttle),
        **fields,
    )


def context(*targets, **more):
    """What all calls of one actor share."""
    defaults = {"retry": AT_ONCE, "prices": default_prices(), "random": Random("seed")}
    return RequestContext(fallback=Fallback(targets or (FIRST,)), **(defaults | more))


def endpoint_breaker(policy=EASILY_OPENED):
    return EndpointBreaker("provider", policy, Random("seed"))


class Outcomes:
    """Plays one outcome after another, each after `seconds`; the last one is repeated."""

    def __init__(self, *outcomes, seconds=1.0):
        self.outcomes = list(outcomes) or [exchanged()]
        self.seconds = seconds
        self.times = []

    async def next(self):
        self.times.append(trio.current_time())
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        seconds = self.seconds
        if isinstance(outcome, tuple):
            outcome, seconds = outcome
        await trio.sleep(seconds)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class FakeExchange(Outcomes):
    """Takes the place of an `Exchange`, which encodes requests and sends them.

    Args:
        outcomes: of the requests sent.
        pieces: of a streamed response, delivered before the outcome.
        no_key: raised instead of headers.
        refuses: raised instead of an encoded request.
        heads: whether the head of each response arrives at once.
    """

    host = label = "provider"
    destination = Destination("compatible", "provider", 80)

    def __init__(self, *outcomes, pieces=(), no_key=None, refuses=None, heads=False, **more):
        super().__init__(*outcomes, **more)
        self.heads = heads
        self.pieces = pieces
        self.no_key = no_key
        self.refuses = refuses
        self.sent = []

    def prepare(self, request, *, stream, spelling=AS_WRITTEN):
        if self.refuses is not None:
            raise self.refuses
        stream = stream and not spelling.is_whole
        return attrs.evolve(prepared(stream=stream), request=request, spelling=spelling)

    def headers(self, request):
        if self.no_key is not None:
            raise self.no_key
        return {"authorization": "Bearer key"}

    async def send(self, prepared, *, headers, watch, deliver, attempt, idempotency_key, **more):
        self.sent.append((attempt, idempotency_key, headers))
        self.deliver = deliver
        if self.heads:
            watch.head_arrived()
        for text in self.pieces:
            await deliver(Delta(text))
        return await self.next()


class FakeAttempt(Outcomes):
    """An attempt layer: it counts what it sends, and settles its tickets.

    Attributes:
        prepared: the requests, in the order in which they were sent.
    """

    def __init__(self, breaker, *outcomes, **more):
        super().__init__(*outcomes, **more)
        self.breaker = breaker
        self.prepared = []

    async def send(self, call, prepared, ticket):
        call.sent += 1
        self.prepared.append(prepared)
        try:
            response = await self.next()
        except AttemptFailed:
            self.breaker.fail(ticket)
            raise
        finally:
            self.breaker.abandon(ticket)
        self.breaker.succeed(ticket)
        return response


class FakeTarget(Outcomes):
    """A target layer; its breaker is open if `is_open`."""

    def __init__(self, *outcomes, is_open=False, pieces=(), **more):
        super().__init__(*outcomes, **more)
        self.is_open = is_open
        self.pieces = pieces

    def is_out(self):
        return self.is_open

    async def send(self, call):
        call.sent += 1
        for text in self.pieces:
            await call.deliver_piece(Delta(text))
        return await self.next()


class Account:
    """Counts what a call takes from its account.

    Args:
        refuses: raised instead of a reservation.
        waits_s: how long a reservation takes, in seconds.
    """

    def __init__(self, refuses=None, waits_s=0.0):
        self.refuses = refuses
        self.waits_s = waits_s
        self.taken = 0
        self.answer = None

    async def take(self):
        await trio.sleep(self.waits_s)
        if self.refuses is not None:
            raise self.refuses
        self.taken += 1

    def refund(self):
        self.taken -= 1


class ScriptedPermit(LoosePermit):
    """A permit whose renewals end with these errors, one after another; then it lets pass."""

    def __init__(self, *errors, seconds=0.0):
        super().__init__()
        self.errors = list(errors)
        self.seconds = seconds

    async def renew(self, *, delay, throttled, moves=None):
        await super().renew(delay=delay, throttled=throttled)
        await trio.sleep(self.seconds)
        if self.errors:
            raise self.errors.pop(0)
