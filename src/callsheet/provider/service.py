"""What a call to a model goes through: key, faults, limits, latency, answer, counts."""

from collections.abc import Callable, Iterable

import attrs
import trio

from .apierror import ORGANIZATION, ApiError
from .body import Body
from .call import Answer, Call, Ids
from .chance import hex_of, random_of
from .exchange import ClientGone, Exchange
from .faults import Fault
from .latency import latency_of
from .limits import Limiter
from .settings import ProviderSettings
from .stats import ProviderStats, Tally

__all__ = ["JSON_BODY", "ModelService", "Parse"]

Parse = Callable[[Body, ProviderSettings], Call]

JSON_BODY = {"content-type": "application/json"}
_HTML_BODY = {"content-type": "text/html; charset=utf-8"}
_EVENT_BODY = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_HTML = b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body></body></html>\n"
_FAULT_HEADER = "x-callsheet-fault"
# The share of its latency after which a stream's first event comes.
_FIRST_EVENT = 0.3
_SLOW_PIECE = 64
# "created" is a date of the provider's own clock, which starts with the year 2026 (R13).
_EPOCH_S = 1_767_225_600


class ModelService:
    """Answers calls to models.

    Args:
        settings: the provider's.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._limiter = Limiter(settings.rpm, settings.tpm, settings.burst_s)
        self._fault_chance = random_of("faults", settings.seed)
        self._tally = Tally()
        self._number = 0
        self._first_arrived: float | None = None

    @property
    def stats(self) -> ProviderStats:
        """The counts since it was made or last reset."""
        return self._tally.freeze()

    def reset(self) -> None:
        """Count anew and fill every bucket."""
        self._tally = self._tally.renewed()
        self._limiter.refill()

    def check_key(self, exchange: Exchange) -> str:
        """The key a request brings, or nothing where none is needed.

        Raises:
            ApiError: 401, it is not the right one.
        """
        scheme, _, key = exchange.headers.get("authorization", "").partition(" ")
        given = key.strip() if scheme.lower() == "bearer" and key.strip() else None
        if self._settings.api_key not in (None, given):
            raise ApiError.bad_key(given)
        return given or ""

    def check_model(self, name: str) -> None:
        """Raise `ApiError` 404 when there is no such model."""
        if self._settings.models and name not in self._settings.models:
            raise ApiError.no_such_model(name)

    async def serve(self, exchange: Exchange, parse: Parse) -> None:
        """Answer one call, whatever becomes of it."""
        self._number += 1
        self._tally.begin()
        headers = {"x-request-id": f"req_{hex_of('request', self._settings.seed, self._number)}"}
        try:
            await self._answer(exchange, parse, self._ids(exchange), headers)
        except ApiError as error:
            self._tally.answer(error.status)
            await exchange.answer(error.status, error.body(), headers | JSON_BODY | error.headers)
        except ClientGone:
            self._tally.cancel()

    def _ids(self, exchange: Exchange) -> Ids:
        if self._first_arrived is None:
            self._first_arrived = exchange.arrived
        created = _EPOCH_S + int(exchange.arrived - self._first_arrived)
        return Ids(hex_of("answer", self._settings.seed, self._number), created)

    async def _answer(
        self, exchange: Exchange, parse: Parse, ids: Ids, headers: dict[str, str]
    ) -> None:
        key = self.check_key(exchange)
        headers |= {"openai-version": "2020-10-01", "openai-organization": ORGANIZATION}
        fault = self._fault(exchange)
        call = self._admitted(exchange, parse, key, headers)
        if fault is not None and fault.kind in ("429", "500", "503"):
            raise ApiError.of_fault(int(fault.kind), fault.retry_after)

        answer = call.answer(self._settings.seed, ids)
        low, high = self._settings.latency_s
        latency = latency_of(self._settings.seed, call.prompt_key, low, high)
        latency *= self._settings.time_scale
        headers |= {"openai-processing-ms": str(int(latency * 1000))}
        if fault is not None:
            await self._answer_faultily(
                exchange, fault, call=call, answer=answer, headers=headers, latency=latency
            )
        elif call.stream:
            start = exchange.arrived + _FIRST_EVENT * latency
            gap = (1 - _FIRST_EVENT) * latency / max(1, len(answer.parts) - 1)
            await exchange.wait_until(start)
            await exchange.start(200, headers | _EVENT_BODY)
            times = (start + i * gap for i in range(len(answer.parts)))
            await self._send(exchange, answer, answer.parts, times)
        else:
            await exchange.wait_until(exchange.arrived + latency)
            self._settle(answer)
            await exchange.answer(200, answer.parts[0], headers | JSON_BODY)

    def _fault(self, exchange: Exchange) -> Fault | None:
        drawn = self._settings.faults.draw(self._fault_chance)
        asked = exchange.headers.get(_FAULT_HEADER)
        if asked is None:
            return drawn
        try:
            return Fault.parse(asked)
        except ValueError as error:
            raise ApiError(400, f"{_FAULT_HEADER}: {error}", param=_FAULT_HEADER) from None

    def _admitted(
        self, exchange: Exchange, parse: Parse, key: str, headers: dict[str, str]
    ) -> Call:
        """The call, found in order and within the limits, whose headers are added.

        A call that is not in order counts as a request too, where its model is known.
        """
        body = Body.parse(exchange.body)
        model = body.model()
        self.check_model(model)
        try:
            call = parse(body, self._settings)
        except ApiError:
            headers |= self._limiter.admit(key, model, 0, exchange.arrived).headers
            raise
        charge = self._settings.charge(call.estimated_tokens, call.most_output_tokens)
        admission = self._limiter.admit(key, model, charge, exchange.arrived)
        if admission.refusal is None:
            headers |= admission.headers
            return call
        error = ApiError.rate_limited(admission.refusal, model)
        if not self._settings.headers_on_429:
            raise attrs.evolve(error, headers={})
        headers |= admission.headers
        raise error

    async def _answer_faultily(
        self,
        exchange: Exchange,
        fault: Fault,
        *,
        call: Call,
        answer: Answer,
        headers: dict[str, str],
        latency: float,
    ) -> None:
        faults = self._settings.faults
        if fault.kind == "stall":
            await exchange.wait_until(exchange.arrived + faults.stall_s)
        else:
            await exchange.wait_until(exchange.arrived + latency)
        body = b"".join(answer.parts)
        match fault.kind:
            case "truncate":
                self._tally.bill(answer.input_tokens, answer.output_tokens)
                self._tally.break_off()
                # Without an end, the server closes the connection short of what was promised.
                promise = {} if call.stream else {"content-length": str(len(body))}
                await exchange.start(200, headers | _body_type(call) | promise)
                await exchange.part(body[: len(body) // 2], more=True)
            case "malformed":
                self._settle(answer)
                if fault.body == "html":
                    await exchange.answer(200, _HTML, headers | _HTML_BODY)
                else:
                    broken = body[: len(body) // 2]
                    await exchange.answer(200, broken, headers | _body_type(call))
            case "slow":
                starts = range(0, len(body), _SLOW_PIECE)
                pieces = tuple(body[i : i + _SLOW_PIECE] for i in starts)
                promise = {} if call.stream else {"content-length": str(len(body))}
                await exchange.start(200, headers | _body_type(call) | promise)
                now = trio.current_time()
                times = (now + i * faults.slow_gap_s for i in range(len(pieces)))
                await self._send(exchange, answer, pieces, times)
            case _:  # reset, or the end of a stall
                self._tally.break_off()
                exchange.reset()

    async def _send(
        self,
        exchange: Exchange,
        answer: Answer,
        pieces: tuple[bytes, ...],
        times: Iterable[float],
    ) -> None:
        """Send a body piece by piece, each at its time."""
        last = len(pieces) - 1
        for i, (piece, time) in enumerate(zip(pieces, times, strict=True)):
            await exchange.wait_until(time)
            if i == last:
                self._settle(answer)
            await exchange.part(piece, more=i < last)

    def _settle(self, answer: Answer) -> None:
        # Counted just before the last byte goes: whoever has the answer finds it in the counts.
        self._tally.bill(answer.input_tokens, answer.output_tokens)
        self._tally.answer(200)


def _body_type(call: Call) -> dict[str, str]:
    return _EVENT_BODY if call.stream else JSON_BODY
