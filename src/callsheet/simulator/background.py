"""OpenAI's background responses: begun by POST /v1/responses, polled, and cancelled.

No task runs for one. Its state is computed whenever it is needed, so it follows any clock (R14).

Source: docs/providers.md, OpenAI: responses.
"""

import json
from collections.abc import Iterator
from typing import Literal

import attrs
from starlette.responses import Response

from .arrivals import Arrival, Instant
from .body import RequestRefused
from .caching import CacheUse
from .call import ModelAnswer, SimulatedVendor
from .limits import QuotaCharge
from .responses import ResponsesCall
from .stats import RunningStats
from .wire import Json, JsonResponse

UNSTORED_S = 600.0
"""Seconds after its end for which a response with `store: false` can be read."""

_UNFINISHED: dict[str, Json] = {
    "output": [],
    "usage": None,
    "completed_at": None,
    "incomplete_details": None,
}


@attrs.define(kw_only=True, eq=False)
class BackgroundResponse:
    """One response in the background.

    Args:
        call: the parsed request.
        answer: the response at its end.
        at: the time of the request.
        latency_s: seconds from the request to the end.
        cache: how much of the prompt was read from the prompt cache or written to it.
        account: the charges of the call.
    """

    call: ResponsesCall
    answer: ModelAnswer = attrs.field(repr=False)
    at: Instant
    latency_s: float
    cache: CacheUse
    account: QuotaCharge
    is_cancelled: bool = attrs.field(default=False, init=False)
    is_billed: bool = attrs.field(default=False, init=False)

    @property
    def ends(self) -> float:
        """The time of its end, unless it is cancelled, in seconds on Trio's clock."""
        return self.at.clock + self.latency_s

    def as_json(
        self, status: Literal["queued", "in_progress", "cancelled"] | None
    ) -> dict[str, Json]:
        """Return the response object.

        Args:
            status: the status without output; None for the whole response.
        """
        whole: dict[str, Json] = json.loads(self.answer.body)
        if status is not None:
            return {**whole, **_UNFINISHED, "status": status}
        if whole["completed_at"] is None:
            return whole
        return {**whole, "completed_at": int(self.at.date_of(self.ends))}


class BackgroundResponses:
    """The background responses of the provider.

    Args:
        vendor: the simulated API of OpenAI.
        stats: the counts of the provider.
    """

    def __init__(self, vendor: SimulatedVendor, stats: RunningStats) -> None:
        self._vendor = vendor
        self._stats = stats
        self._all: dict[str, BackgroundResponse] = {}
        self._working: dict[str, BackgroundResponse] = {}

    def begin(self, response: BackgroundResponse) -> None:
        """Begin to work on a response."""
        name = json.loads(response.answer.body)["id"]
        self._all[name] = self._working[name] = response

    def show(self, arrival: Arrival) -> Response:
        """Show a response: GET /v1/responses/{id}."""
        found = self._find(arrival)
        if found.is_cancelled:
            return JsonResponse(found.as_json("cancelled"))
        return JsonResponse(found.as_json(None if found.is_billed else "in_progress"))

    def cancel(self, arrival: Arrival) -> Response:
        """Cancel a response: POST /v1/responses/{id}/cancel. One that has ended stays as it is."""
        found = self._find(arrival)
        if not found.is_billed:
            found.is_cancelled = True
            self._bill(found, 0, arrival.at.clock)
        return self.show(arrival)

    def catch_up(self, clock: float) -> Iterator[None]:
        """Bill the responses that have ended, and yield after each."""
        for name, response in [*self._working.items()]:
            if response.is_billed:
                del self._working[name]
            elif response.ends <= clock:
                self._bill(response, response.answer.output_tokens, response.ends)
                del self._working[name]
                yield

    def _bill(self, response: BackgroundResponse, output_tokens: int, now: float) -> None:
        """Bill a response at its end. What a cancelled one costs is not known: its prompt here."""
        response.is_billed = True
        call, tokens = response.call, response.answer.input_tokens
        self._stats.bill(call.model, call.tier, tokens, output_tokens, response.cache)
        totals = self._vendor.totals(
            tokens, output_tokens, cached_tokens=response.cache.read, ended=True
        )
        response.account.charge(totals, now)

    def _find(self, arrival: Arrival) -> BackgroundResponse:
        name = arrival.request.path_params["id"]
        found = self._all.get(name)
        is_stored = found is not None and found.call.echo["store"] is not False
        if found is None or not (is_stored or arrival.at.clock <= found.ends + UNSTORED_S):
            raise RequestRefused(404, f"Response with id '{name}' not found.")
        return found
