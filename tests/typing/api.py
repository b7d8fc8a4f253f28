"""The types of the public API, as a user meets them. Checked by type checkers, never run.

    mypy --strict --warn-unused-ignores tests/typing/api.py
    pyright tests/typing/api.py

A wrong use carries a `type: ignore` with the code of the error that it must give: mypy complains of
one that is not needed, so it fails when the error is no longer found.
"""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import attrs
import httpx
import trio

from callsheet import (
    CallFailed,
    Endpoint,
    Limits,
    Post,
    Request,
    Response,
    ResultNotValid,
    RetryPolicy,
    Troupe,
    TroupeSettings,
    cast_troupe,
    load_settings,
    open_builtin_provider,
    open_endpoint,
    open_troupe,
)
from callsheet.actors import (
    VENDORS,
    BatchApiStatistics,
    BatchingStatistics,
    BreakerPolicy,
    BreakerStatistics,
    CacheStatistics,
    CallContext,
    CallEvent,
    ChatMessage,
    Choice,
    Complete,
    Delta,
    GetRequestStatistics,
    HedgePolicy,
    LeanTransport,
    LimiterStatistics,
    Observer,
    ProviderEvent,
    Reading,
    RequestStatistics,
    ResponseStream,
    Stream,
    Target,
    ThrottlePolicy,
    Timeouts,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
    Vendor,
    log_call,
    vendor_named,
)
from callsheet.bulk import bulk
from callsheet.bulk.engine.run import BulkRun
from callsheet.bulk.errors import RunEnding
from callsheet.bulk.files.lines import Result
from callsheet.bulk.progress import Progress, RowEnded
from callsheet.bulk.reading.opening import count_rows, open_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.row import BadRow, Row
from callsheet.bulk.settings import BulkSettings
from callsheet.metrics import Exposition, Metrics, serve
from callsheet.otel import OpenTelemetry
from callsheet.runtime import (
    AskStream,
    Ref,
    Runtime,
)

# ---------------------------------------------------------------- calls


async def calling(troupe: Troupe) -> None:
    request = Request.of("Say hello.", model="m", system="Be brief.", max_tokens=5)
    assert_type(request, Request[None])
    assert_type(Request.embedding(["tea", "coffee"], model="m"), Request[None])
    answer = await troupe.complete(request, timeout=5, call="greeting")
    assert_type(answer, Response[None])
    assert_type(answer.text, str)
    assert_type(answer.choices, tuple[Choice, ...])
    assert_type(answer.tool_calls, tuple[ToolCall, ...])
    assert_type(answer.reasoning, str)
    assert_type(answer.refusal, str | None)
    assert_type(answer.logprobs, tuple[TokenLogprob, ...])
    assert_type(answer.embeddings, tuple[tuple[float, ...], ...])
    assert_type(answer.usage, Usage)
    assert_type(answer.cost_usd, Decimal | None)
    assert_type(answer.first_byte_s, float | None)
    assert_type(answer.maybe_billed, int)
    assert_type(await troupe.compose("Tea", timeout=60), Post)

    await troupe.complete("Say hello.")  # type: ignore[arg-type]  # is no request
    Request(model="m", messages=[ChatMessage("robot", "Hm.")])  # type: ignore[arg-type]  # no role
    Request(model="m", task="translation", inputs="tea")  # type: ignore[arg-type]  # no such task


@attrs.frozen
class Label:
    sentiment: str


async def typed(troupe: Troupe) -> None:
    request = Request.of("Good.", model="m", returns=Label)
    assert_type(request, Request[Label])
    response = await troupe.complete(request)
    assert_type(response, Response[Label])
    assert_type(response.parsed, Label)
    assert_type(response.choices[0].parsed, object)
    several = Request(model="m", messages=[ChatMessage("user", "Hi")], returns=list[Label])
    assert_type((await troupe.complete(several)).parsed, list[Label])
    assert_type((await troupe.complete(Request.of("Good.", model="m"))).parsed, None)
    async with troupe.stream(request) as items:
        assert_type(items, ResponseStream[Label])
        async for item in items:
            if isinstance(item, Response):
                assert_type(item.parsed, Label)
    try:
        await troupe.complete(request)
    except ResultNotValid as error:
        assert_type(error.response, Response)
        assert_type(error.reason, str)

    Request.of("Good.", model="m", returns=Label("good"))  # type: ignore[call-overload]  # no class


async def watching(troupe: Troupe) -> None:
    checked: AbstractAsyncContextManager[ResponseStream[None]] = troupe.stream(
        Request.of("Say hello.", model="m"), timeout=5, buffer=8
    )
    async with checked as items:
        assert_type(items, ResponseStream[None])
        assert_type(await anext(items), Delta | Response[None])
        async for item in items:
            if isinstance(item, Delta):
                assert_type(item.text, str)
                assert_type(item.index, int)
                assert_type(item.tool_calls, tuple[ToolCallDelta, ...])
            else:
                assert_type(item, Response[None])
        assert_type(items.response, Response[None] | None)
    async with troupe.stream(Request.of("Say hello.", model="m"), events=True) as pieces:
        assert_type(pieces, ResponseStream[None, Delta | ProviderEvent])
        assert_type(await anext(pieces), Delta | ProviderEvent | Response[None])


async def asking_a_stage(stage: Ref, request: Request) -> None:
    """What every stage takes, so that one of your own fits between two of them."""
    assert_type(await stage.ask(Complete(request, CallContext("call-1"))), Response)
    async with stage.stream(Stream(request, CallContext("call-2"))) as items:
        assert_type(items, AskStream[Delta | ProviderEvent | Response])
    assert_type(await stage.ask(GetRequestStatistics()), RequestStatistics)


# ---------------------------------------------------------------- settings


def my_client(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=transport, trust_env=False)


def observe(event: CallEvent) -> None:
    assert_type(event.error, str | None)


async def scraping(metrics: Metrics) -> None:
    async with trio.open_nursery() as nursery:
        url: str = await nursery.start(serve, metrics)
        print(url)
        assert_type(await metrics.exposition("text/plain"), Exposition)
        assert_type(metrics.exposition_in_thread(), Exposition)
        TroupeSettings(endpoint=Endpoint("http://127.0.0.1/v1"), metrics=print)  # type: ignore[arg-type]  # is no meter


async def choosing() -> None:
    async with open_endpoint("openai") as found, open_builtin_provider() as builtin:
        assert_type(found, Endpoint)
        settings = TroupeSettings(
            endpoint=Endpoint.of("anthropic", lambda: "key"),
            fallbacks=[Target(found, "m"), Target(builtin)],
            retry=RetryPolicy(max_attempts=3),
            throttle=ThrottlePolicy(share=0.1),
            breaker=None,
            hedging=HedgePolicy(max_share=0.1),
            timeouts=Timeouts(first_byte_s=60),
            client=my_client,
            observer=observe,
            inspect="service.sock",
            metrics=Metrics(models=["my-model"], listen="127.0.0.1:9464"),
            transport=LeanTransport(max_connections=10),
        )
        async with open_troupe(settings) as troupe:
            statistics = await troupe.request_statistics()
            assert_type(statistics.breakers, tuple[tuple[str, BreakerStatistics], ...])
            assert_type(await troupe.limiter_statistics(), LimiterStatistics)
            assert_type(await troupe.batching_statistics(), BatchingStatistics)
            assert_type(await troupe.reading(), Reading)
            assert_type(await troupe.cache_statistics(), CacheStatistics)
            assert_type(await troupe.batch_api_statistics(), BatchApiStatistics)
    TroupeSettings(endpoint=found, breaker=BreakerPolicy(consecutive=None), fallbacks=())
    traced = OpenTelemetry(content=True, redact=str.upper, names="1.41")
    TroupeSettings(endpoint=found, observer=[observe, log_call, traced])
    assert_type(TroupeSettings(endpoint=found).observer, Observer)
    assert_type(load_settings("callsheet.toml", environ={"OPENAI_API_KEY": "..."}), TroupeSettings)
    load_settings(rpm=5)  # type: ignore[call-arg]  # fields are set by attrs.evolve
    pool = Endpoint.pool([found, Endpoint.of("azure", "key", deployment="nano", weight=2)])
    assert_type(pool, Endpoint)
    TroupeSettings(endpoint=pool, member_limits={"key 2": Limits(rpm=60)})

    assert_type(VENDORS["openai"], Vendor)
    assert_type(vendor_named("groq"), Vendor)
    Endpoint("http://127.0.0.1:8080/v1", "key", vendor="ollama", http2=True, proxy="", uds=None)
    Endpoint.of("openai", "key", api="responses")
    Request.of("Hi", model="m", api="chat")
    Request.of("Hi", model="m", api="batches")  # type: ignore[call-overload]  # an unknown API
    Endpoint("http://127.0.0.1:8080/v1", 5)  # type: ignore[arg-type]  # a key is a text or gives one
    Endpoint("http://127.0.0.1:8080/v1", vendor=5)  # type: ignore[arg-type]  # a vendor, or its name
    TroupeSettings(endpoint="http://127.0.0.1:8080/v1")  # type: ignore[arg-type]  # is no endpoint
    TroupeSettings(endpoint=found, fallbacks=[found])  # type: ignore[list-item]  # are no targets


async def casting(runtime: Runtime, settings: TroupeSettings) -> None:
    assert_type(await cast_troupe(runtime, settings, prefix="my-"), Troupe)


def refused(error: CallFailed) -> None:
    assert_type(error.attempts, int)
    assert_type(error.status, int | None)
    if error.billed != "maybe":
        assert error.billed == "no"


async def answering(source: Path, troupe: TroupeSettings) -> None:
    settings = BulkSettings(fsync="normal", route="batch", max_cost=Decimal(5), deadline_s=60)
    with open_rows(source, ReadSettings(model="m", template="{{ text }}")) as rows:
        assert_type(rows, Iterator[Row | BadRow])
        async with bulk(rows, "out.jsonl", troupe, settings, observers=[ended]) as run:
            assert_type(run, BulkRun)
            async for result in run:
                assert_type(result, Result)
                assert_type(result.response, Response)
                assert_type(result.error, str | None)
            run.pause()
            await run.change_limits(Limits(rpm=10))
            assert_type(run.progress(), Progress)
            assert_type(run.ending, RunEnding | None)
    assert_type(count_rows(source), int | None)
    BulkSettings(fsync="sometimes")  # type: ignore[arg-type]  # there is no such policy
    BulkSettings(max_cost="5")
    bulk([1, 2], "out.jsonl", troupe)  # type: ignore[list-item]  # numbers are no rows


def ended(told: RowEnded) -> None:
    assert_type(told.cost_usd, Decimal | None)
