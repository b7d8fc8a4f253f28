"""What tests of the LLM actors speak to: a provider that follows a script, and a scripted stage."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from math import inf

import attrs
import httpx
import trio
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    BatcherActor,
    CallContext,
    CallFailed,
    ChatMessage,
    Complete,
    Endpoint,
    Request,
    RequestActor,
    Response,
    Throttled,
    Usage,
)
from callsheet.actors.batching.strategy import common_key
from callsheet.actors.vendors.format import BatchLimits
from callsheet.runtime import Actor, handles, open_runtime

MODEL = "gpt-4o"
URL = "http://provider/v1"


def completion_json(text="Hello", *, model=MODEL, tokens=(10, 5), **more):
    """The JSON body of an answer; `more` replaces members, None leaves one out."""
    prompt, answer = tokens
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        },
    } | more
    return {name: value for name, value in body.items() if value is not None}


def error_json(message="Sorry.", *, kind="server_error", code=None):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@attrs.frozen
class Reply:
    """One line of a script.

    Args:
        status: of the answer.
        body: bytes or text as they are, anything else as JSON.
        headers: of the answer.
        after: seconds until the head comes; infinity never lets it.
        pieces: into how many the body is cut, the first of which comes with the head.
        gap: seconds between two pieces.
        error: raised instead of an answer, after `after`.
        then: raised where the body should end.
    """

    status: int = 200
    body: object = attrs.field(factory=completion_json)
    headers: dict[str, str] = attrs.field(factory=dict)
    after: float = 1.0
    pieces: int = 1
    gap: float = 0.0
    error: Exception | None = None
    then: Exception | None = None

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body).encode()


def refusal(status, message="Sorry.", *, kind="server_error", code=None, headers=None, after=1.0):
    """A line that refuses."""
    return Reply(status, error_json(message, kind=kind, code=code), headers or {}, after=after)


def broken(error, after=1.0):
    """A line that is an error of the network."""
    return Reply(error=error, after=after)


REFUSED = httpx.ConnectError("All connection attempts failed")
RESET = httpx.ReadError("connection reset by peer")
TRUNCATED = httpx.RemoteProtocolError("peer closed connection without sending complete body")
STALL = Reply(after=inf)


@attrs.define(eq=False)
class Sent:
    """A request as the provider saw it, with the instants of Trio's clock."""

    at: float
    url: str
    body: bytes
    headers: httpx.Headers
    ended_at: float | None = None

    @property
    def prompt(self):
        return json.loads(self.body)["messages"][-1]["content"]


class Script(httpx.AsyncBaseTransport):
    """Takes the place of the network; its last line is repeated.

    Args:
        lines: one for each request, in the order in which they come.
        by_prompt: lines of requests with these prompts, which go before the others.
    """

    def __init__(self, *lines, by_prompt=None):
        self.lines = list(lines) or [Reply()]
        self.by_prompt = {prompt: list(own) for prompt, own in (by_prompt or {}).items()}
        self.sent: list[Sent] = []
        self.closed = 0

    @property
    def times(self):
        return [sent.at for sent in self.sent]

    @property
    def open(self):
        return sum(sent.ended_at is None for sent in self.sent)

    def _line(self, sent):
        lines = self.by_prompt.get(sent.prompt, self.lines)
        return lines.pop(0) if len(lines) > 1 else lines[0]

    async def handle_async_request(self, request):
        body = b"".join([part async for part in request.stream])
        sent = Sent(trio.current_time(), str(request.url), body, request.headers)
        self.sent.append(sent)
        line = self._line(sent)
        read = request.extensions["timeout"].get("read")
        try:
            await _silence(line.after, read)
        except BaseException:
            sent.ended_at = trio.current_time()
            raise
        if line.error is not None:
            sent.ended_at = trio.current_time()
            raise line.error
        return httpx.Response(
            line.status, headers=line.headers, stream=_Pieces(line, sent, read), request=request
        )

    async def aclose(self):
        self.closed += 1


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, line, sent, read):
        self._line, self._sent, self._read = line, sent, read
        size = -(-len(line.content) // line.pieces) or 1
        self._left = [line.content[at : at + size] for at in range(0, len(line.content), size)]
        self._first = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._first and self._left:
            await _silence(self._line.gap, self._read)
        self._first = False
        if self._left:
            return self._left.pop(0)
        if self._line.then is not None:
            raise self._line.then
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._sent.ended_at = trio.current_time()


async def _silence(seconds, read):
    """Let time pass, up to the client's read timeout."""
    if read is not None and seconds > read:
        await trio.sleep(read)
        raise httpx.ReadTimeout("timed out")
    await trio.sleep(seconds)


@attrs.define(eq=False)
class Journal:
    """What a stage did, with the instants of Trio's clock; it outlives a crash of the stage."""

    began: list[tuple[str, float]] = attrs.field(factory=list)
    ended: list[tuple[str, float]] = attrs.field(factory=list)
    cancelled: list[tuple[str, float]] = attrs.field(factory=list)
    sends: list[float] = attrs.field(factory=list)  # of attempts, renewals included
    in_hand: int = 0
    most_in_hand: int = 0


@attrs.frozen
class Turn:
    """How a stage takes one call.

    Args:
        seconds: how long an attempt takes.
        error: raised at the end, instead of an answer.
        renewals: (delay, throttled) of each renewal it asks for before the last attempt.
    """

    seconds: float = 1.0
    error: Exception | None = None
    renewals: tuple[tuple[float, bool], ...] = ()


class LoosePermit:
    """Lets everything through, and keeps what it is told."""

    def __init__(self):
        self.asked = []
        self.parked = []
        self.heard = []
        self.settled = []
        self.uses = 0

    def use(self):
        self.uses += 1

    async def renew(self, *, delay, throttled):
        self.asked.append((delay, throttled))
        await trio.sleep(delay)

    def park(self, *, delay, throttled):
        self.parked.append((delay, throttled))

    def listens(self):
        return True

    def hear(self, reports):
        self.heard += reports

    def settle(self, usage, usd, first_byte_s):
        self.settled.append((usage, usd, first_byte_s))


class Stage(Actor):
    """Stands in for the stages further on; what it does with a call goes by the prompt."""

    def __init__(self, journal, by_prompt=None, *, usual=None):
        self.journal = journal
        self.by_prompt = by_prompt or {}
        self.usual = usual or Turn()

    @handles(Complete, raises=(CallFailed,))
    async def complete(self, message):
        prompt = message.request.messages[-1].content
        turn = self.by_prompt.get(prompt, self.usual)
        journal = self.journal
        journal.began.append((prompt, trio.current_time()))
        journal.in_hand += 1
        journal.most_in_hand = max(journal.most_in_hand, journal.in_hand)
        try:
            for delay, throttled in turn.renewals:
                await self.attempt(message, turn)
                refused = Throttled("too_fast") if throttled else None
                await message.permit.renew(delay=delay, throttled=refused)
            await self.attempt(message, turn)
        except trio.Cancelled:
            journal.cancelled.append((prompt, trio.current_time()))
            raise
        finally:
            journal.in_hand -= 1
        journal.ended.append((prompt, trio.current_time()))
        if turn.error is not None:
            raise turn.error
        return attrs.evolve(self.answer(prompt), http_requests=len(turn.renewals) + 1)

    def answer(self, prompt):
        return answer_to(prompt)

    async def attempt(self, message, turn):
        if message.permit is not None:
            message.permit.use()
        self.journal.sends.append(trio.current_time())
        await trio.sleep(turn.seconds)


def answer_to(prompt, **more):
    known = {
        "text": f"about {prompt}",
        "model": MODEL,
        "finish_reason": "stop",
        "usage": Usage(10, 5),
        "cost_usd": Decimal("0.001"),
    }
    return Response(**(known | more))


class Chorus:
    """A strategy that asks prompts as one, with bars between them; "mute" ones get no answer."""

    name = "chorus"

    def __init__(self, bounds=None, *, check_share=0.0, least_agreement=0.9):
        self.bounds = bounds or BatchLimits(max_size=10)
        self.check_share = check_share
        self.least_agreement = least_agreement

    def key(self, request):
        return None if "alone" in self.texts(request)[0] else common_key(request, "messages")

    def texts(self, request):
        return (request.messages[-1].content,)

    def pieces(self, request, weigh):
        texts = self.texts(request)[0].split(" ")
        return [attrs.evolve(request, messages=[ChatMessage("user", text)]) for text in texts]

    def combine(self, requests):
        text = "|".join(self.texts(request)[0] for request in requests)
        return attrs.evolve(requests[0], messages=[ChatMessage("user", text)])

    def split(self, requests, response):
        texts = response.text.removeprefix("about ").split("|")
        assert len(texts) == len(requests)
        return [
            None if "mute" in text else attrs.evolve(response, text=f"about {text}", choices=())
            for text in texts
        ]

    def join(self, request, answers):
        return attrs.evolve(answers[0], text=" ".join(answer.text for answer in answers))


def call(prompt="Hi", **more):
    """A message that asks for one completion."""
    return Complete(Request.of(prompt, model=MODEL, **more), CallContext(prompt))


async def batcher_to(
    runtime, journal, by_prompt=None, *, usual=None, batching=None, stage=None, strategies=()
):
    """A batcher in front of a stage that can do with a hundred calls at a time."""
    stage = stage or await runtime.spawn(
        "stage",
        partial(Stage, journal, by_prompt, usual=usual),
        capacity=100,
        concurrency=100,
    )
    return await runtime.spawn("batcher", partial(BatcherActor, stage, batching, strategies))


async def chorus_to(runtime, journal, strategy=None, **more):
    """A batcher that makes one call of several prompts."""
    return await batcher_to(runtime, journal, strategies=[strategy or Chorus()], **more)


async def outcomes(*functions):
    """Run them all at once, begun in order; what each returned, or the exception it raised."""
    found = [None] * len(functions)

    async def run(at, function):
        try:
            found[at] = await function()
        except Exception as error:  # noqa: BLE001  # it is what the test looks at
            found[at] = error

    async with trio.open_nursery() as nursery:
        for at, function in enumerate(functions):
            nursery.start_soon(run, at, function)
            await wait_all_tasks_blocked()  # Trio begins tasks of one moment in any order
    return found


def asking(ref, *prompts, timeout=inf, **more):
    """For each prompt, a function that asks `ref` for its completion."""
    return [partial(ref.ask, call(prompt, **more), timeout=timeout) for prompt in prompts]


@asynccontextmanager
async def requester(transport, *, api_key=None, concurrency=10, seed="seed", **settings):
    """The ref of a `RequestActor` that speaks to `transport`, and its runtime."""
    endpoint = Endpoint(URL, api_key)
    async with open_runtime(seed=seed) as runtime:
        yield (
            await runtime.spawn(
                "requester",
                partial(RequestActor, endpoint, transport=transport, **settings),
                capacity=concurrency,
                concurrency=concurrency,
            ),
            runtime,
        )
