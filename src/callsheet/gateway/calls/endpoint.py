"""The endpoint of one kind of call: an ASGI app that reads, asks the troupe, and responds.

    HTTP request -> caller -> body -> Request -> turn of the key -> troupe -> response
                                                      (queue, limits, retries, money)

A client that goes away ends the work wherever it is (R4): the troupe is asked in a scope that the
disconnect cancels.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from http import HTTPStatus
from typing import Final, final

import attrs
import structlog
import trio
from starlette.types import Receive, Scope, Send

from ...actors import (
    CallContext,
    CallFailed,
    Request,
    Response,
    Shared,
    TurnTooLate,
)
from ...runtime import AskFailed
from ...serving import Gone, call_until_gone
from ..dialects import Dialect, InboundCall
from ..endpoints import CallTarget
from ..errors import InvalidBody, Refusal, Refused, refusal_of
from ..keys import OwnLimits, TenantTurn
from ..request_log import RequestFacts, facts_of
from .bodies import read_body, read_json
from .callers import Caller
from .places import KeptAnswer, LeftPlace, place_key
from .reply import Reply, headers_of
from .response_headers import (
    Headers,
    comment_of,
    json_headers,
    limits_of_client,
    of_limits,
    of_response,
)
from .service import CallService
from .sse import EventStream
from .wishes import Wishes, features_in, read_wishes

_log = structlog.get_logger("callsheet.gateway")

_TIER: Final = "service_tier"
_TOGETHER: Final = 16 * 1024  # bytes of events that are sent at once
_SHARED: Final = frozenset(("cache", "join"))
_REFUSALS = (Refused, InvalidBody, CallFailed, AskFailed)


@final
@attrs.frozen(kw_only=True)
class CallEndpoint:
    """An ASGI app that answers the calls of one endpoint, such as chat completions.

    Args:
        service: what all calls share.
        dialect: reads the bodies of requests, and writes those of responses.
    """

    service: CallService
    dialect: Dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call.

        Args:
            scope: the request, as ASGI has it.
            receive: receives messages from the client.
            send: sends messages to the client.
        """
        reply = Reply.to(send, self.dialect, self.service.new_id())
        headers, facts = headers_of(scope), facts_of(scope)
        facts.request_id = reply.request_id
        try:
            with self.service.counted():
                caller = self.service.callers.identify(headers)
                facts.key = caller.id
                with self.service.callers.calling(caller):
                    call = await self._read(scope, receive, headers, caller, reply)
                    with call.target.served.used():
                        await call_until_gone(receive, call.run)
        except Gone:  # SDKs close the connection when they have read the end of a stream
            if reply.stream is None or not reply.stream.has_ended:
                facts.note = "client gone"
        except _REFUSALS as error:
            refusal = refusal_of(error)
            facts.note = refusal.kind
            if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # for those who run the gateway
                facts.note = f"{refusal.kind}: {error}"
            await reply.refuse(refusal)
        except Exception:  # noqa: BLE001  # a bug costs one call, and its client is told (R17)
            facts.note = "crash"
            _log.exception("gateway_call_crashed", call=reply.request_id)
            await reply.refuse(_CRASHED)

    async def _read(
        self,
        scope: Scope,
        receive: Receive,
        headers: Mapping[str, str],
        caller: Caller,
        reply: Reply,
    ) -> "_Call":
        rules = self.service.rules
        body = await read_body(
            receive, headers, max_bytes=rules.max_body_bytes, within_s=rules.body_timeout_s
        )
        inbound, facts = self.dialect.read(read_json(body)), facts_of(scope)
        facts.model = inbound.request.model
        target = self.service.target(inbound.request.model, caller)
        facts.troupe = target.served.name
        return _Call(
            service=self.service,
            reply=reply,
            facts=facts,
            caller=caller,
            inbound=inbound,
            wishes=read_wishes(headers, is_streamed=inbound.is_streamed, usual_s=rules.patience_s),
            features=features_in(headers, target.served.settings.endpoint.each[0].vendor),
            target=target,
            place=place_key(caller.id, scope["path"], body),
        )


_CRASHED = Refusal(
    status=500,
    kind="internal",
    message="the gateway failed; its log has the reason",
    should_retry=False,
)


@final
@attrs.define(kw_only=True)
class _Call:
    """One call, from its turn to its response."""

    service: CallService
    reply: Reply
    facts: RequestFacts
    caller: Caller
    inbound: InboundCall
    wishes: Wishes
    features: Mapping[str, str]
    target: CallTarget
    place: bytes
    answer: KeptAnswer | None = attrs.field(default=None, init=False)

    async def run(self) -> None:
        """Answer the call. Cancelling it ends its work, and its place is remembered."""
        now, left = trio.current_time(), None
        if self.wishes.is_repeated:
            left = self.service.places.take(self.place, now)
        came = now if left is None else left.came
        try:
            if left is not None and left.answer is not None:
                self.answer = left.answer
                await self.reply.whole(left.answer.body, [*left.answer.headers])
            elif self.inbound.is_streamed:
                await self._stream(came)
            else:
                await self._complete(came)
        except (trio.Cancelled, TurnTooLate):
            self._leave(came)
            raise

    def _leave(self, came: float) -> None:
        place = LeftPlace(came, trio.current_time(), self.answer)
        self.service.places.leave(self.place, place)

    async def _complete(self, came: float) -> None:
        request, troupe = self._request(), self.target.served.troupe
        async with self._turn(request, came) as turn:
            response = await troupe.complete(request, context=self._context(came, turn))
            response = self._settled(response, turn)
        body = self.reply.dialect.whole(
            self.inbound, response, name=self.reply.request_id, created=self._created()
        )
        headers = [*json_headers(body), *of_response(response), *await self._limits()]
        self.answer = KeptAnswer(tuple(headers), body)
        await self.reply.whole(body, headers)

    async def _stream(self, came: float) -> None:
        out = self.reply.streamed(await self._limits())
        failure: Exception | None = None
        async with out.kept_alive():
            try:
                await self._send_pieces(out, came)
            except (CallFailed, AskFailed) as error:
                failure = error  # raised out of the nursery, without a group around it
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # else it, its traceback and this frame are a reference cycle

    async def _send_pieces(self, out: EventStream, came: float) -> None:
        request, troupe = self._request(), self.target.served.troupe
        writer = self.reply.dialect.stream(
            self.inbound, name=self.reply.request_id, created=self._created()
        )
        async with (
            self._turn(request, came) as turn,
            troupe.stream(request, context=self._context(came, turn), events=True) as items,
        ):
            events = b""  # those that have arrived together are sent together
            async for item in items:
                if isinstance(item, Response):
                    response = self._settled(item, turn)
                    await out.end(events + comment_of(response) + writer.end(response))
                    continue
                events += writer.feed(item)
                if len(events) > _TOGETHER or not items.has_piece:
                    await out.write(events)
                    events = b""

    # ----------------------------------------------------------------

    def _request(self) -> Request:
        """Return the request as the troupe takes it."""
        request, changes = self.inbound.request, dict[str, object]()
        if self.features:
            changes["extra_headers"] = self.features
        if request.model != self.target.model:
            changes["model"] = self.target.model
        if self.wishes.deadline_s is not None:
            changes["deadline"] = self.wishes.deadline_s
            routing, tier = self.target.served.settings.routing, request.extra_body.get(_TIER)
            if tier == "flex" and routing.flex and self.wishes.deadline_s >= routing.flex_from_s:
                # The router takes this tier, or what is cheaper and in time.
                further = {name: it for name, it in request.extra_body.items() if name != _TIER}
                changes["extra_body"] = further
        if self.wishes.may_read_cache and not _SHARED.isdisjoint(self.allowed):
            changes["cacheable"] = True
        if not changes:
            return request
        try:
            return attrs.evolve(request, **changes)  # type: ignore[arg-type]  # by name
        except (ValueError, TypeError) as error:  # of the headers; nothing else is the client's
            raise InvalidBody(str(error)) from None

    @property
    def allowed(self) -> frozenset[Shared]:
        """What the call may use without asking for it."""
        key = self.caller.key
        allowed = None if key is None else key.allowed
        return self.service.rules.allow if allowed is None else allowed

    def _context(self, came: float, turn: TenantTurn | None) -> CallContext:
        """Return the context of the call, whose patience its own turn may have taken a part of."""
        waited_s = 0.0 if turn is None else turn.waited_s
        return CallContext(
            self.reply.request_id,
            lane=self.caller.lane,
            tenant=self.caller.name,
            patience_s=max(0.0, self.wishes.patience_s - waited_s),
            came=came,
            asked_at=trio.current_time(),
            allowed=self.allowed,
        )

    def _turn(
        self, request: Request, came: float
    ) -> AbstractAsyncContextManager[TenantTurn | None]:
        """Return the turn of the call at the limits of its key, for `async with`."""
        tenant = self.caller.tenant
        if tenant is None or not tenant.key.has_limits:
            return nullcontext()
        tokens = 0.0
        if tenant.key.tpm is not None:
            estimate = self.service.estimator.estimate(request)
            tokens = estimate.input_tokens + estimate.output_tokens
        return tenant.turn(tokens, patience_s=self.wishes.patience_s, came=came)

    async def _limits(self) -> Headers:
        """Return the limits that hold for the client, as headers."""
        tenant, troupe = self.caller.tenant, self.target.served.troupe
        share = await troupe.share(self.target.model, lane=self.caller.lane)
        own = OwnLimits() if tenant is None else tenant.limits()
        limits = limits_of_client(own, share)
        return of_limits(self.reply.dialect.vendor, limits, self.service.wall_clock())

    def _created(self) -> int:
        return int(self.service.wall_clock().timestamp())

    def _settled(self, response: Response, turn: TenantTurn | None) -> Response:
        """Note what the call has cost, and return its response with the wait for its own turn."""
        if turn is not None:
            # What the cache or another call has responded took nothing of the provider.
            turn.settle(response.usage.total_tokens if response.http_requests else 0)
            if turn.waited_s:
                response = attrs.evolve(response, queued_s=response.queued_s + turn.waited_s)
        self.facts.cost_usd, self.facts.queued_s = response.cost_usd, response.queued_s
        return response
