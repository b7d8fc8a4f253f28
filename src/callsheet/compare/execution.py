"""One item on its way through a run: its script, and what its answers have cost so far.

An item of a workload and its script: which calls it makes, and which of them may be made now.

Every way asks the same scripts, so that the prompts are the same to the byte. When the calls are
made, and how many at a time, is each way's own affair.
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

__all__ = [
    "BadAnswer",
    "Execution",
    "Item",
    "ItemOutcome",
    "PlainReply",
    "Script",
    "Solo",
    "StepResults",
    "begin",
    "gist",
    "path_of",
    "read_reply",
    "write_body",
]


Item = str | Request
"""A topic to write a post about, or one request to make."""

StepResults = Mapping[str, StepResult | None]
"""What an item has come to, by step; the only step of a request is "answer"."""


class Script(Protocol):
    """What an item still has to ask; `PostGraph` is one."""

    @property
    def calls(self) -> Sequence[StepCall]:
        """Every call made possible so far, each after those it needs."""
        ...

    @property
    def results(self) -> StepResults:
        """What the answers have come to so far."""
        ...

    def ready(self) -> list[StepCall]:
        """The calls that may start now. Each is handed out once."""
        ...

    def succeed(self, call_id: str, text: str) -> bool:
        """A call was answered; whether the item can still be finished."""
        ...


@attrs.define
class Solo:
    """The script of a single request."""

    request: Request
    _handed_out: bool = attrs.field(default=False, init=False)
    _results: dict[str, StepResult | None] = attrs.field(
        factory=dict[str, StepResult | None], init=False
    )

    @property
    def calls(self) -> tuple[StepCall]:
        """The one call."""
        request = self.request
        prompt = request.messages[-1].content if request.messages else request.inputs[0]
        return (StepCall("answer", "answer", None, prompt, request, ()),)

    @property
    def results(self) -> StepResults:
        """The answer, once it is there."""
        return self._results

    def ready(self) -> list[StepCall]:
        """The one call, the first time."""
        if self._handed_out:
            return []
        self._handed_out = True
        return list(self.calls)

    def succeed(self, call_id: str, text: str) -> bool:
        """Keep the answer, whatever it says."""
        self._results[call_id] = text
        return True


def begin(item: Item, recipe: Recipe) -> Script:
    """A fresh script of an item; a topic's calls are those of the recipe."""
    return PostGraph(recipe, item) if isinstance(item, str) else Solo(item)


_CHAT, _EMBEDDINGS = OpenAIChat(), OpenAIEmbeddings()


def _format_of(request: Request) -> WireFormat:
    if request.task == "embedding":
        return _EMBEDDINGS
    return _CHAT


def write_body(request: Request) -> dict[str, Json]:
    """The JSON body that every way sends for a request."""
    return _format_of(request).encode(request, stream=False)


def path_of(request: Request) -> str:
    """Where every way sends it, below the base URL."""
    return _format_of(request).path(request, stream=False)


def gist(text: str, vectors: Sequence[Sequence[float]]) -> str:
    """What an answer says: its text, or a digest of its vectors."""
    if not vectors:
        return text
    return hashlib.blake2b(repr([list(map(float, it)) for it in vectors]).encode()).hexdigest()


class BadAnswer(Exception):
    """A 200 without an answer, or an answer that its step cannot use."""


@attrs.frozen
class PlainReply:
    """The answer to one call of the three ways that Callsheet is compared with.

    Args:
        text: what the model wrote, or a digest of the vectors.
        usage: the tokens that the provider reports.
        cost_usd: USD; None when the model's price is not known.
    """

    text: str
    usage: Usage
    cost_usd: Decimal | None


def read_reply(response: httpx.Response, request: Request) -> PlainReply:
    """What an HTTP response says.

    Raises:
        httpx.HTTPStatusError: its status says that there is no answer.
        BadAnswer: it is not an answer.
    """
    response.raise_for_status()
    try:
        answer = _format_of(request).decode(loads(response.content), request)
    except ValueError as error:
        raise BadAnswer(f"the provider's answer is not one: {error}") from error
    if isinstance(answer, ApiError):
        raise BadAnswer(f"the provider answered with an error: {answer.message}")
    usage = answer.usage or Usage()
    text = gist(answer.choices[0].text if answer.choices else "", answer.embeddings)
    return PlainReply(text, usage, default_prices().cost(answer.model or "", usage))


@attrs.frozen
class ItemOutcome:
    """What an item came to.

    Args:
        results: its answers, by step.
        usage: the tokens it was billed.
        cost_usd: USD; None when a model's price is not known.
    """

    results: StepResults = attrs.field(repr=False)
    usage: Usage
    cost_usd: Decimal | None


class Execution:
    """An item that is being done.

    Args:
        item: what is to be done.
        recipe: the steps of a post.
    """

    def __init__(self, item: Item, recipe: Recipe) -> None:
        self.script = begin(item, recipe)
        self._usage = Usage()
        self._cost_usd: Decimal | None = Decimal(0)

    def ready(self) -> list[StepCall]:
        """The calls that may start now. Each is handed out once."""
        return self.script.ready()

    def note(self, call: StepCall, reply: PlainReply) -> None:
        """A call was answered.

        Raises:
            BadAnswer: the step cannot use the answer.
        """
        self._usage += reply.usage
        if self._cost_usd is not None:
            self._cost_usd = None if reply.cost_usd is None else self._cost_usd + reply.cost_usd
        if not self.script.succeed(call.id, reply.text):
            raise BadAnswer(f"call {call.id}: its step cannot use the answer {reply.text!r:.60}")

    def outcome(self) -> ItemOutcome:
        """What it has come to; it is whole once `ready` has nothing left."""
        return ItemOutcome(dict(self.script.results), self._usage, self._cost_usd)
