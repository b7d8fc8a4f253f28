"""A `BatchApiActor` with a provider and a live stage, on the virtual clock."""

from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial

import trio
from batch_provider import MODEL, URL, BatchProvider, answer_text
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    CallContext,
    CallFailed,
    Complete,
    Endpoint,
    Price,
    PriceBook,
    Request,
    Response,
    Stream,
    Usage,
)
from callsheet.actors.batch_api.actor import BatchApiActor, GetBatchApiStatistics
from callsheet.actors.batch_api.journal import open_journal
from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.runtime import Actor, handles, open_runtime, streams
from callsheet.runtime.testing.conservation import check_conservation

KINDS = ["openai", "together", "anthropic"]
MORE_KINDS = ["gemini", "groq", "mistral", "openrouter"]
KEY = "sk-very-secret-1234567890"
PRICES = PriceBook({MODEL: Price(*map(Decimal, ("2", "8", "1", "1", "4")))})
LIVE_S = 3.0


class Live(Actor):
    """The stage that sends requests live."""

    def __init__(self, log, error=None):
        self.log = log
        self.error = error

    @handles(Complete, raises=(CallFailed,))
    async def complete(self, message):
        prompt = message.request.messages[-1].content
        self.log.append((prompt, trio.current_time()))
        await trio.sleep(LIVE_S)
        if self.error is not None:
            raise self.error
        usage = Usage(10, 5)
        return Response(
            text=answer_text(prompt),
            model=MODEL,
            finish_reason="stop",
            usage=usage,
            cost_usd=Decimal(1),
        )

    @streams(Stream)
    async def stream(self, message, sink):
        self.log.append(("stream", trio.current_time()))
        await sink.send("piece")


class BatchStage:
    def __init__(self, runtime, ref, provider, live, events=()):
        self.runtime, self.ref, self.provider, self.live = runtime, ref, provider, live
        self.events = events
        self.count = partial(ref.ask, GetBatchApiStatistics())

    @property
    def sent_live(self):
        return [prompt for prompt, _ in self.live]

    async def ask(self, prompt, *, timeout=86_400.0, **more):
        more.setdefault("deadline", 86_400.0)
        request = Request.of(prompt, model=MODEL, **more)
        return await self.send(request, prompt, timeout=timeout)

    async def send(self, request, call="call", *, timeout=86_400.0):
        return await self.ref.ask(Complete(request, CallContext(call)), timeout=timeout)

    async def ask_all(self, *prompts, **more):
        """Return each response or error by its prompt."""
        found = {}

        async def one(prompt):
            try:
                found[prompt] = await self.ask(prompt, **more)
            except Exception as error:  # noqa: BLE001  # it is what the test looks at
                found[prompt] = error

        async with trio.open_nursery() as nursery:
            for prompt in prompts:
                nursery.start_soon(one, prompt)
                await wait_all_tasks_blocked()
        return found


@asynccontextmanager
async def batch_stage(
    provider=None, *, live_error=None, endpoint=None, journal=open_journal, **policy
):
    provider = provider or BatchProvider()
    endpoint = endpoint or Endpoint(URL, KEY, provider.kind)
    live, events = [], []
    async with open_runtime() as runtime:
        to = await runtime.spawn("live", partial(Live, live, live_error), concurrency=100)
        ref = await runtime.spawn(
            "batches",
            partial(
                BatchApiActor,
                to,
                endpoint,
                BatchApiPolicy(**policy),
                prices=PRICES,
                observer=events.append,
                transport=provider,
                journal=journal,
            ),
            concurrency=8,
        )
        yield BatchStage(runtime, ref, provider, live, events)
        await wait_all_tasks_blocked()
        snapshot = runtime.snapshot()
        check_conservation(snapshot)
        assert all(actor.deferred == 0 for actor in snapshot.actors)


async def leaving(seconds, function, *args):
    """Run a function, and cancel it after some seconds."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(function, *args)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()


def texts(found):
    return {prompt: getattr(one, "text", one) for prompt, one in found.items()}


def about(*prompts):
    return {prompt: answer_text(prompt) for prompt in prompts}
