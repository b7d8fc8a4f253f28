"""The execution of one item: which calls it makes, which of them may start, and what they cost.

Every mode runs the same scripts, so the prompts are identical byte for byte. A mode decides only
when it sends each call, and how many calls it sends at a time.
"""

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

import attrs
import httpx

from ..actors import (
    ApiError,
    Json,
    OpenAIChat,
    OpenAIEmbeddings,
    PostGraph,
    Recipe,
    Request,
    StepCall,
    StepResult,
    Usage,
    WireFormat,
    default_prices,
    loads,
)

Item = str | Request
"""The topic of a post, or a single request."""

StepResults = Mapping[str, StepResult | None]
"""The results of an item, by step name; a single request has one step, "answer"."""


class Script(Protocol):
    """The calls of an item and their order; `PostGraph` implements it for a post."""

    @property
    def calls(self) -> Sequence[StepCall]:
        """Every call that is known so far; each call follows the calls that it depends on."""
        ...

    @property
    def results(self) -> StepResults:
        """The results so far, by step name."""
        ...

    def ready(self) -> list[StepCall]:
        """Return the calls that may start now. Each call is returned once."""
        ...

    def succeed(self, call_id: str, text: str) -> bool:
        """Record the response to a call; return False if the item can no longer finish."""
        ...


@attrs.define
class SingleRequest:
    """The script of a single request."""

    request: Request
    _handed_out: bool = attrs.field(default=False, init=False)
    _results: dict[str, StepResult | None] = attrs.field(
        factory=dict[str, StepResult | None], init=False
    )

    @property
    def calls(self) -> tuple[StepCall]:
        """The single call."""
        request = self.request
        prompt = request.messages[-1].content if request.messages else request.inputs[0]
        return (StepCall("answer", "answer", None, prompt, request, ()),)

    @property
    def results(self) -> StepResults:
        """The result, once the response has arrived."""
        return self._results

    def ready(self) -> list[StepCall]:
        """Return the single call the first time, and nothing after that."""
        if self._handed_out:
            return []
        self._handed_out = True
        return list(self.calls)

    def succeed(self, call_id: str, text: str) -> bool:
        """Record the response; any text is accepted."""
        self._results[call_id] = text
        return True


def make_script(item: Item, recipe: Recipe) -> Script:
    """Make the script of an item; the calls of a topic are those of the recipe."""
    return PostGraph(recipe, item) if isinstance(item, str) else SingleRequest(item)


_CHAT, _EMBEDDINGS = OpenAIChat(), OpenAIEmbeddings()


def _format_of(request: Request) -> WireFormat:
    if request.task == "embedding":
        return _EMBEDDINGS
    return _CHAT


def write_body(request: Request) -> dict[str, Json]:
    """Return the JSON body that every mode sends for a request."""
    return _format_of(request).encode(request, stream=False)


def path_of(request: Request) -> str:
    """Return the path, relative to the base URL, that every mode sends a request to."""
    return _format_of(request).path(request, stream=False)


def comparable_text(text: str, vectors: Sequence[Sequence[float]]) -> str:
    """Return a response as text that can be compared: its text, or a digest of its vectors."""
    if not vectors:
        return text
    return hashlib.blake2b(repr([list(map(float, it)) for it in vectors]).encode()).hexdigest()


class BadAnswer(Exception):
    """The body of a 200 response cannot be decoded, or its step cannot use the text."""


@attrs.frozen
class PlainReply:
    """The response to one call of a mode that does not use Callsheet.

    Args:
        text: the text of the response, or a digest of its vectors.
        usage: the tokens that the provider reports.
        cost_usd: the cost in USD; None if the price of the model is not known.
    """

    text: str
    usage: Usage
    cost_usd: Decimal | None


def read_reply(response: httpx.Response, request: Request) -> PlainReply:
    """Decode an HTTP response.

    Args:
        response: the HTTP response, with its whole body.
        request: the request that it responds to.

    Raises:
        httpx.HTTPStatusError: the status is an error.
        BadAnswer: the body cannot be decoded, or is an error.
    """
    response.raise_for_status()
    try:
        answer = _format_of(request).decode(loads(response.content), request)
    except ValueError as error:
        raise BadAnswer(f"the provider's response cannot be decoded: {error}") from error
    if isinstance(answer, ApiError):
        raise BadAnswer(f"the provider responded with an error: {answer.message}")
    usage = answer.usage or Usage()
    text = comparable_text(answer.choices[0].text if answer.choices else "", answer.embeddings)
    return PlainReply(text, usage, default_prices().cost(answer.model or request.model, usage))


@attrs.frozen
class ItemOutcome:
    """The outcome of a finished item.

    Args:
        results: the results, by step name.
        usage: the tokens that were billed for all calls of the item.
        cost_usd: the cost in USD; None if the price of a model is not known.
    """

    results: StepResults = attrs.field(repr=False)
    usage: Usage
    cost_usd: Decimal | None


class Execution:
    """The execution of one item, with the tokens and the cost so far.

    Args:
        item: the topic or the request.
        recipe: the steps of a post; a single request does not use it.
    """

    def __init__(self, item: Item, recipe: Recipe) -> None:
        self.script = make_script(item, recipe)
        self._usage = Usage()
        self._cost_usd: Decimal | None = Decimal(0)

    def ready(self) -> list[StepCall]:
        """Return the calls that may start now. Each call is returned once."""
        return self.script.ready()

    def record(self, call: StepCall, reply: PlainReply) -> None:
        """Record the response to a call.

        Raises:
            BadAnswer: the step cannot use the text of the response.
        """
        self._usage += reply.usage
        if self._cost_usd is not None:
            self._cost_usd = None if reply.cost_usd is None else self._cost_usd + reply.cost_usd
        if not self.script.succeed(call.id, reply.text):
            raise BadAnswer(f"call {call.id}: its step cannot use the response {reply.text!r:.60}")

    def outcome(self) -> ItemOutcome:
        """Return the outcome; it is complete when `ready` returns no calls and none is running."""
        return ItemOutcome(dict(self.script.results), self._usage, self._cost_usd)
