"""Fakes for tests of the LLM actors: a provider that follows a script, and a scripted stage."""

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
    """Return the JSON body of a response; `more` replaces members, None removes one."""
    prompt, output = tokens
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
            "completion_tokens": output,
            "total_tokens": prompt + output,
        },
    } | more
    return {name: value for name, value in body.items() if value is not None}


def error_json(message="Sorry.", *, kind="server_error", code=None):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@attrs.frozen
class Reply:
    """One response of a script.

    Args:
        status: the HTTP status.
        body: bytes or text are sent unchanged, any other value as JSON.
        headers: headers of the response.
        after: seconds until the head arrives; infinity for never.
        pieces: number of chunks of the body; the first one arrives with the head.
        gap: seconds between two chunks.
        error: raised instead of a response, after `after`.
        then: raised at the end of the body.
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
    """Return a response that refuses a request."""
    return Reply(status, error_json(message, kind=kind, code=code), headers or {}, after=after)


def broken(error, after=1.0):
    """Return a response that is an error of the network."""
    return Reply(error=error, after=after)


REFUSED = httpx.ConnectError("All connection attempts failed")
RESET = httpx.ReadError("connection reset by peer")
TRUNCATED = httpx.RemoteProtocolError("peer closed connection without sending complete body")
STALL = Reply(after=inf)


@attrs.define(eq=False)
class Sent:
    """A request as the provider received it; times are on Trio's clock."""

    at: float
    url: str
    body: bytes
    headers: httpx.Headers
    ended_at: float | None = None

    @property
    def prompt(self):
        return json.loads(self.body)["messages"][-1]["content"]


class Script(httpx.AsyncBaseTransport):
    """A transport instead of the network; the last response is repeated.

    Args:
        lines: responses to the requests, in order.
        by_prompt: {prompt: responses to the requests with that prompt}, instead of `lines`.
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
        lines = self.by_prompt.get(sent.prompt, self.lines) if self.by_prompt else self.lines
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
            line.status,
            headers=line.headers,
            stream=_ChunkedBody(line, sent, read),
            request=request,
        )

    async def aclose(self):
        self.closed += 1


class _ChunkedBody(httpx.AsyncByteStream):
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
    """Sleep, but raise a timeout after the client's read timeout."""
    if read is not None and seconds > read:
        await trio.sleep(read)
        raise httpx.ReadTimeout("timed out")
    await trio.sleep(seconds)


@attrs.define(eq=False)
class Journal:
    """What a stage did, with times on Trio's clock; it survives a crash of the stage."""

    began: list[tuple[str, float]] = attrs.field(factory=list)
    ended: list[tuple[str, float]] = attrs.field(factory=list)
    cancelled: list[tuple[str, float]] = attrs.field(factory=list)
    sends: list[float] = attrs.field(factory=list)  # of attempts, renewals included
    in_hand: int = 0
    most_in_hand: int = 0


@attrs.frozen
class Behaviour:
    """How a stage handles one call.

    Args:
        seconds: duration of an attempt.
        error: raised at the end, instead of a response.
        renewals: (delay, throttled) of each renewal that it requests before the last attempt.
    """

    seconds: float = 1.0
    error: Exception | None = None
    renewals: tuple[tuple[float, bool], ...] = ()


class LoosePermit:
    """A permit that never waits, and records its calls."""

    def __init__(self):
        self.asked = []
        self.parked = []
        self.heard = []
        self.settled = []
        self.uses = 0
        self.uncounted_tokens = None
        self.queued_s = 0.0

    def use(self):
        self.uses += 1

    async def renew(self, *, delay, throttled, moves=None):
        self.asked.append((delay, throttled))
        await trio.sleep(delay)

    def park(self, *, delay, throttled):
        self.parked.append((delay, throttled))

    def wants_reports(self):
        return True

    def report_limits(self, reports):
        self.heard += reports

    def settle(self, usage, usd, first_byte_s, *, uncounted_tokens=0):
        self.settled.append((usage, usd, first_byte_s))
        self.uncounted_tokens = uncounted_tokens


class Stage(Actor):
    """A fake of the later stages; the prompt decides how it handles a call."""

    def __init__(self, journal, by_prompt=None, *, usual=None):
        self.journal = journal
        self.by_prompt = by_prompt or {}
        self.usual = usual or Behaviour()

    @handles(Complete, raises=(CallFailed,))
    async def complete(self, message):
        prompt = message.request.messages[-1].content
        behaviour = self.by_prompt.get(prompt, self.usual)
        journal = self.journal
        journal.began.append((prompt, trio.current_time()))
        journal.in_hand += 1
        journal.most_in_hand = max(journal.most_in_hand, journal.in_hand)
        try:
            for delay, throttled in behaviour.renewals:
                await self.attempt(message, behaviour)
                refused = Throttled("too_fast") if throttled else None
                await message.permit.renew(delay=delay, throttled=refused)
            await self.attempt(message, behaviour)
        except trio.Cancelled:
            journal.cancelled.append((prompt, trio.current_time()))
            raise
        finally:
            journal.in_hand -= 1
        journal.ended.append((prompt, trio.current_time()))
        if behaviour.error is not None:
            raise behaviour.error
        return attrs.evolve(self.answer(prompt), http_requests=len(behaviour.renewals) + 1)

    def answer(self, prompt):
        return answer_to(prompt)

    async def attempt(self, message, behaviour):
        if message.permit is not None:
            message.permit.use()
        self.journal.sends.append(trio.current_time())
        await trio.sleep(behaviour.seconds)


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
    """A strategy that joins prompts by "|"; a prompt with "mute" gets no response."""

    name = "chorus"

    def __init__(self, bounds=None, *, check_share=0.0, least_agreement=0.9):
        self.bounds = bounds or BatchLimits(max_size=10)
        self.check_share = check_share
        self.least_agreement = least_agreement

    def bounds_for(self, request):
        return self.bounds

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

    def form_tokens(self, request):
        return None

    def split(self, requests, response):
        texts = response.text.removeprefix("about ").split("|")
        assert len(texts) == len(requests)
        return [
            None if "mute" in text else attrs.evolve(response, text=f"about {text}", choices=())
            for text in texts
        ]

    def join(self, request, responses):
        return attrs.evolve(responses[0], text=" ".join(one.text for one in responses))


def call(prompt="Hi", **more):
    """Return a message that requests one completion."""
    return Complete(Request.of(prompt, model=MODEL, **more), CallContext(prompt))


async def batcher_to(
    runtime, journal, by_prompt=None, *, usual=None, batching=None, stage=None, strategies=()
):
    """Spawn a batcher in front of a stage that handles a hundred calls concurrently."""
    stage = stage or await runtime.spawn(
        "stage",
        partial(Stage, journal, by_prompt, usual=usual),
        capacity=100,
        concurrency=100,
    )
    return await runtime.spawn("batcher", partial(BatcherActor, stage, batching, strategies))


async def chorus_to(runtime, journal, strategy=None, **more):
    """Spawn a batcher that sends several prompts in one call."""
    return await batcher_to(runtime, journal, strategies=[strategy or Chorus()], **more)


async def outcomes(*functions):
    """Run functions concurrently, started in order; return their results or exceptions."""
    found = [None] * len(functions)

    async def run(at, function):
        try:
            found[at] = await function()
        except Exception as error:  # noqa: BLE001  # the test checks it
            found[at] = error

    async with trio.open_nursery() as nursery:
        for at, function in enumerate(functions):
            nursery.start_soon(run, at, function)
            await wait_all_tasks_blocked()  # Trio starts tasks in any order
    return found


def asking(ref, *prompts, timeout=inf, **more):
    """Return, for each prompt, a function that asks `ref` for its completion."""
    return [partial(ref.ask, call(prompt, **more), timeout=timeout) for prompt in prompts]


@asynccontextmanager
async def requester(
    transport, *, api_key=None, vendor="compatible", concurrency=10, seed="seed", **settings
):
    """Yield the ref of a `RequestActor` that uses `transport`, and its runtime."""
    endpoint = Endpoint(URL, api_key, vendor)
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
