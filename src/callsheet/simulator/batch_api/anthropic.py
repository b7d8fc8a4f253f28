"""The endpoints below /v1/messages/batches: Anthropic's batches.

Source: docs/providers.md, Anthropic: batches.
"""

import re
from collections.abc import Iterator
from functools import partial

import attrs
from starlette.responses import Response

from ..arrivals import Arrival, Arrivals
from ..body import RequestBody, RequestRefused
from ..call import ModelCall, SimulatedVendor
from ..messages import MessagesCall
from ..settings import ProviderSettings
from ..wire import Json, JsonResponse, compact, page_of, rfc3339
from .engine import BatchEngine, LineOutcome, Moment, Phases, SimulatedBatch, SimulatedLine

MAX_LISTED = 1000
LISTED = 20
POLL_S = 10

_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINES = "application/x-jsonl"


@attrs.frozen(eq=False)
class _AnthropicJob:
    """A batch, and the address by which the client reached this server."""

    batch: SimulatedBatch
    host: str


class MessageBatches:
    """Anthropic's batches.

    Args:
        settings: the provider's settings.
        vendor: the simulated API of Anthropic.
        arrivals: checks models, and counts.
    """

    def __init__(
        self, settings: ProviderSettings, vendor: SimulatedVendor, arrivals: Arrivals
    ) -> None:
        self._settings = settings
        self._engine = BatchEngine(
            settings, vendor, arrivals.stats, prefix="msgbatch_", phases=Phases()
        )
        self._check_model = partial(arrivals.check_model, vendor=vendor)
        self._jobs: dict[str, _AnthropicJob] = {}

    def create(self, arrival: Arrival) -> Response:
        """Create a batch: POST /v1/messages/batches."""
        body = arrival.json()
        asked = body.items("requests", self._settings.batches.max_requests)
        lines: dict[str, SimulatedLine] = {}
        for i, item in enumerate(asked):
            line = self._line(f"requests[{i}]", item)
            if line.custom_id in lines:
                raise RequestRefused(
                    400, f"custom_id '{line.custom_id}' is not unique.", param=f"requests[{i}]"
                )
            lines[line.custom_id] = line
        batch = self._engine.create(lines.values(), arrival.at)
        job = _AnthropicJob(batch, arrival.request.headers.get("host", ""))
        self._jobs[batch.id] = job
        return JsonResponse(_shown(job, batch.look(arrival.at.clock)))

    def show(self, arrival: Arrival) -> Response:
        """Show a batch: GET /v1/messages/batches/{id}."""
        batch_id = arrival.request.path_params["id"]
        job = self._find(batch_id)
        moment = job.batch.look(arrival.at.clock)
        if moment.has_ended:
            return JsonResponse(_shown(job, moment))
        return JsonResponse(_shown(job, moment), headers={"retry-after": str(POLL_S)})

    def listed(self, arrival: Arrival) -> Response:
        """List batches, newest first: GET /v1/messages/batches."""
        marks = {
            side: self._find(mark)
            for side in ("after", "before")
            if (mark := arrival.request.query_params.get(f"{side}_id")) is not None
        }
        jobs = reversed(self._jobs.values())
        page = page_of(jobs, arrival.limit(MAX_LISTED, LISTED), **marks)
        return JsonResponse(
            page.as_json(
                lambda job: job.batch.id, lambda job: _shown(job, job.batch.look(arrival.at.clock))
            )
        )

    def cancel(self, arrival: Arrival) -> Response:
        """Cancel a batch: POST /v1/messages/batches/{id}/cancel."""
        batch_id = arrival.request.path_params["id"]
        job = self._find(batch_id)
        if job.batch.look(arrival.at.clock).has_ended:
            raise RequestRefused(400, f"Batch {batch_id} cannot be canceled because it has ended.")
        job.batch.cancel(arrival.at.clock)
        return JsonResponse(_shown(job, job.batch.look(arrival.at.clock)))

    def results(self, arrival: Arrival) -> Response:
        """Return the results of a batch: GET /v1/messages/batches/{id}/results."""
        batch_id = arrival.request.path_params["id"]
        batch = self._find(batch_id).batch
        moment = batch.look(arrival.at.clock)
        if not moment.has_ended:
            raise RequestRefused(404, f"Message Batch {batch_id} has no available results.")
        undone = "canceled" if moment.status == "cancelled" else "expired"
        lines = [_result(outcome) for outcome in batch.outcomes]
        for line in batch.undone:
            shown: dict[str, Json] = {"custom_id": line.custom_id, "result": {"type": undone}}
            lines.append(compact(shown) + b"\n")
        return Response(b"".join(lines), media_type=_LINES)

    def delete(self, arrival: Arrival) -> Response:
        """Delete a batch: DELETE /v1/messages/batches/{id}."""
        batch_id = arrival.request.path_params["id"]
        if not self._find(batch_id).batch.look(arrival.at.clock).has_ended:
            raise RequestRefused(400, f"Batch {batch_id} has not ended: cancel it first.")
        del self._jobs[batch_id]
        return JsonResponse({"id": batch_id, "type": "message_batch_deleted"})

    def catch_up(self, clock: float) -> Iterator[None]:
        """Process all lines that are due."""
        return self._engine.catch_up(clock)

    def _find(self, batch_id: str) -> _AnthropicJob:
        found = self._jobs.get(batch_id)
        if found is None:
            raise RequestRefused(404, f"Message Batch {batch_id} not found.")
        return found

    def _line(self, where: str, item: Json) -> SimulatedLine:
        """Parse a request; only errors outside of its `params` refuse the whole batch."""
        body = RequestBody({where: item}).object(where)
        body.required("params")
        params = body.object("params")
        body.required("custom_id")
        custom_id = body.text("custom_id") or ""
        if not _CUSTOM_ID.fullmatch(custom_id):
            raise RequestRefused(
                400,
                f"String should match pattern '^{_CUSTOM_ID.pattern}$'",
                param=f"{where}.custom_id",
            )
        return SimulatedLine(custom_id, self._call(RequestBody(params.members)))

    def _call(self, params: RequestBody) -> ModelCall | RequestRefused:
        try:
            self._check_model(params.model())
            call = MessagesCall.parse(params, self._settings)
        except RequestRefused as error:
            return error
        if call.stream:
            return RequestRefused(400, "Streaming is not supported in batches.", param="stream")
        return call


def _shown(job: _AnthropicJob, moment: Moment) -> dict[str, Json]:
    batch, created = job.batch, job.batch.created

    def shown(clock: float | None) -> str | None:
        return None if clock is None else rfc3339(created.date_of(clock))

    counts: dict[str, Json] = dict.fromkeys(
        ("processing", "succeeded", "errored", "canceled", "expired"), 0
    )
    if moment.has_ended:
        status, ended = "ended", moment.since[moment.status]
        counts["succeeded"] = batch.succeeded
        counts["errored"] = moment.done - batch.succeeded
        undone = "canceled" if moment.status == "cancelled" else "expired"
        counts[undone] = len(batch.undone)
    else:
        status, ended = "canceling" if moment.status == "cancelling" else "in_progress", None
        counts["processing"] = len(batch.lines)
    results_url = None
    if moment.has_ended:
        results_url = f"http://{job.host}/v1/messages/batches/{batch.id}/results"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": shown(created.clock),
        "expires_at": shown(batch.lifecycle.expires),
        "ended_at": shown(ended),
        "cancel_initiated_at": shown(batch.lifecycle.cancelled),
        "archived_at": None,
        "results_url": results_url,
    }


def _result(outcome: LineOutcome) -> bytes:
    head = compact({"custom_id": outcome.line.custom_id})[:-1]
    kind, name = (b"succeeded", b"message") if outcome.is_ok else (b"errored", b"error")
    # The body is already JSON.
    return b'%b,"result":{"type":"%b","%b":%b}}\n' % (head, kind, name, outcome.body)
