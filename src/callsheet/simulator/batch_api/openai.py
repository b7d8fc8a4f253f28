"""The endpoints below /v1/batches: OpenAI's batches, or Together's.

Source: docs/providers.md, OpenAI: batches; Together: batches.
"""

from collections.abc import Iterator, Mapping
from functools import partial

from starlette.responses import Response

from ..arrivals import Arrival, Arrivals, Instant
from ..body import RequestBody, RequestRefused
from ..call import SimulatedVendor
from ..chat import ChatCall
from ..completions import CompletionsCall
from ..embeddings import EmbeddingsCall
from ..moderations import ModerationsCall
from ..openai import ORGANIZATION
from ..responses import ResponsesCall
from ..service import Parse
from ..settings import ProviderSettings
from ..wire import Json, JsonResponse, page_of
from .engine import BatchEngine, Moment, Phases
from .files import DAY_S, Files
from .orders import (
    InputFile,
    Order,
    ValidationProblem,
    error_lines,
    openai_batch,
    output_lines,
    read_input,
    together_batch,
)

MAX_LISTED = 100
LISTED = 20
MAX_PAIRS = 16
MAX_KEY = 64
MAX_VALUE = 512
MIN_LIFE_S = 3600
LIFE_S = 30 * DAY_S


def _parse_response(body: RequestBody, settings: ProviderSettings) -> ResponsesCall:
    """Parse a response of a batch, which is in the background already."""
    call = ResponsesCall.parse(body, settings)
    if call.is_background:
        raise RequestRefused(400, "'background' is not supported.", param="background")
    return call


# {endpoint: parser of a line's body}
_ENDPOINTS: Mapping[str, Parse] = {
    "/v1/chat/completions": ChatCall.parse,
    "/v1/completions": CompletionsCall.parse,
    "/v1/embeddings": EmbeddingsCall.parse,
    "/v1/moderations": ModerationsCall.parse,
    "/v1/responses": _parse_response,
}


class OpenAIBatches:
    """OpenAI's batches.

    Args:
        settings: the provider's settings.
        vendor: the simulated API of OpenAI.
        arrivals: checks models, and counts.
        files: the files of inputs and outputs.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        vendor: SimulatedVendor,
        arrivals: Arrivals,
        files: Files,
    ) -> None:
        self._settings = settings
        self._files = files
        self._engine = BatchEngine(
            settings, vendor, arrivals.stats, prefix="batch_", phases=Phases(0.1, 0.1)
        )
        self._check_model = partial(arrivals.check_model, vendor=vendor)
        self._is_together = settings.batches.dialect == "together"
        self._orders: dict[str, Order] = {}

    def create(self, arrival: Arrival) -> Response:
        """Create a batch: POST /v1/batches."""
        body = arrival.json()
        file_id = _required_text(body, "input_file_id")
        endpoint = body.choice("endpoint", tuple(_ENDPOINTS)) or _required_text(body, "endpoint")
        window = body.choice("completion_window", ("24h",))
        if window is None and not self._is_together:
            body.required("completion_window")
        expiry = body.object("output_expires_after")
        expiry.choice("anchor", ("created_at",))
        life_s = expiry.integer("seconds", MIN_LIFE_S, LIFE_S) or LIFE_S
        metadata = _metadata(body)
        found, size = self._input(file_id, endpoint, arrival.at)
        found = self._within_limit(found, arrival.at.clock)
        batch = self._engine.create(found.lines, arrival.at, is_valid=not found.flaws)
        order = Order(
            batch=batch,
            input_file_id=file_id,
            input_bytes=size,
            endpoint=endpoint,
            model=found.model,
            window=window or "24h",
            metadata=metadata,
            flaws=found.flaws,
            tokens=0 if found.flaws else found.tokens,
            output_life_s=life_s,
        )
        self._orders[batch.id] = order
        shown = self._shown(order, arrival.at.clock)
        return JsonResponse({"job": shown} if self._is_together else shown)

    def show(self, arrival: Arrival) -> Response:
        """Show a batch: GET /v1/batches/{id}."""
        batch_id = arrival.request.path_params["id"]
        return JsonResponse(self._shown(self._find(batch_id), arrival.at.clock))

    def cancel(self, arrival: Arrival) -> Response:
        """Cancel a batch: POST /v1/batches/{id}/cancel."""
        batch_id = arrival.request.path_params["id"]
        order = self._find(batch_id)
        moment = self._look(order, arrival.at.clock)
        if moment.has_ended:
            raise RequestRefused(409, f"Cannot cancel a batch with status '{moment.status}'.")
        order.batch.cancel(arrival.at.clock)
        return JsonResponse(self._shown(order, arrival.at.clock))

    def listed(self, arrival: Arrival) -> Response:
        """List batches, newest first: GET /v1/batches."""
        orders = reversed(self._orders.values())
        if self._is_together:
            return JsonResponse([self._shown(order, arrival.at.clock) for order in orders])
        after = arrival.request.query_params.get("after")
        mark = None if after is None else self._find(after)
        page = page_of(orders, arrival.limit(MAX_LISTED, LISTED), after=mark)
        shown = page.as_json(
            lambda order: order.batch.id, lambda order: self._shown(order, arrival.at.clock)
        )
        return JsonResponse({"object": "list", **shown})

    def catch_up(self, clock: float) -> Iterator[None]:
        """Process all lines that are due, and write the files of batches that have ended."""
        yield from self._engine.catch_up(clock)
        for order in self._orders.values():
            if not order.is_filed:
                self._look(order, clock)

    def _find(self, batch_id: str) -> Order:
        found = self._orders.get(batch_id)
        if found is None:
            raise RequestRefused(404, f"No batch found with id '{batch_id}'.")
        return found

    def _shown(self, order: Order, clock: float) -> dict[str, Json]:
        moment = self._look(order, clock)
        shown = together_batch if self._is_together else openai_batch
        return shown(order, moment)

    def _look(self, order: Order, clock: float) -> Moment:
        moment = order.batch.look(clock)
        if moment.has_ended and not order.is_filed:
            self._file(order, moment)
        return moment

    def _file(self, order: Order, moment: Moment) -> None:
        """Write the output files of a batch; an empty file is left out."""
        order.is_filed = True
        batch = order.batch
        ended = batch.created.date_of(moment.since[moment.status])

        def put(kind: str, data: bytes) -> str | None:
            if not data:
                return None
            name = f"{batch.id}_{kind}.jsonl"
            file = self._files.put(
                name,
                name,
                data,
                created=ended,
                life_s=order.output_life_s,
                purpose="batch_output",
            )
            return file.id

        order.output_file_id = put("output", output_lines(batch))
        order.error_file_id = put("error", error_lines(batch, moment))

    def _input(self, file_id: str, endpoint: str, at: Instant) -> tuple[InputFile, int]:
        """Return the input of a batch, and the size of its file in bytes."""
        try:
            file = self._files.find(file_id, at)
        except RequestRefused as error:
            flaw = ValidationProblem("invalid_input_file", error.message, param="input_file_id")
            return InputFile(flaws=(flaw,)), 0
        found = read_input(
            file.data, endpoint, _ENDPOINTS[endpoint], self._settings, self._check_model
        )
        return found, len(file.data)

    def _within_limit(self, found: InputFile, clock: float) -> InputFile:
        """Return the input, with a problem if it exceeds the limit of enqueued tokens.

        Raises:
            RequestRefused: 429, it exceeds the limit, and the settings refuse creation.
        """
        limit = self._settings.batches.enqueued_tokens
        if limit is None or found.flaws:
            return found
        waiting = sum(
            order.tokens
            for order in self._orders.values()
            if order.model == found.model and not order.batch.lifecycle.at(clock).has_ended
        )
        if waiting + found.tokens <= limit:
            return found
        message = (
            f"Enqueued token limit reached for {found.model} in organization {ORGANIZATION}. "
            f"Limit: {limit:,} enqueued tokens. Please try again once some in_progress batches "
            "have been completed."
        )
        code = "token_limit_exceeded"
        if self._settings.batches.overflow == "create":
            raise RequestRefused(429, message, type="rate_limit_error", code=code)
        return InputFile(model=found.model, flaws=(ValidationProblem(code, message),))


def _required_text(body: RequestBody, name: str) -> str:
    body.required(name)
    return body.text(name) or ""


def _metadata(body: RequestBody) -> Mapping[str, Json] | None:
    if body.members.get("metadata") is None:
        return None
    found = body.object("metadata").members
    if len(found) > MAX_PAIRS or not all(
        len(name) <= MAX_KEY and isinstance(value, str) and len(value) <= MAX_VALUE
        for name, value in found.items()
    ):
        raise RequestRefused(
            400,
            f"Invalid 'metadata': expected at most {MAX_PAIRS} strings of at most {MAX_VALUE} "
            f"characters, with keys of at most {MAX_KEY}.",
            param="metadata",
        )
    return found
