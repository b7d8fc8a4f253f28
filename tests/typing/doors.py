"""The types of the doors, as a user meets them. Checked by type checkers, never run.

mypy --strict --warn-unused-ignores tests/typing/doors.py
pyright tests/typing/doors.py
"""

from typing import assert_type

import attrs

from callsheet import Endpoint, Post, Request, Response, TroupeSettings, aio, sync
from callsheet.actors import CallPlan, CostStatistics, Delta, LimiterStatistics, ToolRun
from callsheet.aio import AsyncioBulkRun, AsyncioStream, AsyncioTroupe
from callsheet.bulk import Progress, Result
from callsheet.sync import BlockingBulkRun, BlockingStream, BlockingTroupe


@attrs.frozen
class Label:
    sentiment: str


async def from_asyncio(settings: TroupeSettings, request: Request[Label]) -> None:
    async with aio.open_builtin_provider() as endpoint, aio.open_endpoint("openai") as other:
        assert_type(endpoint, Endpoint)
        assert_type(other, Endpoint)
    async with aio.open_troupe(settings, drain_s=1, seed="s") as troupe:
        assert_type(troupe, AsyncioTroupe)
        response = await troupe.complete(request, timeout=5, call="greeting", lane="a")
        assert_type(response, Response[Label])
        assert_type(response.parsed, Label)
        assert_type((await troupe.complete(Request.of("Hi", model="m"))).parsed, None)
        async with troupe.stream(request, buffer=8) as pieces:
            assert_type(pieces, AsyncioStream[Label])
            assert_type(await anext(pieces), Delta | Response[Label])
            async for piece in pieces:
                if isinstance(piece, Response):
                    assert_type(piece.parsed, Label)
            assert_type(pieces.response, Response[Label] | None)
        assert_type(await troupe.run_tools(request, max_cost_usd="0.05"), ToolRun[Label])
        assert_type(troupe.blocking, BlockingTroupe)
        assert_type(await troupe.compose("Tea", timeout=60), Post)
        assert_type(await troupe.explain(request), CallPlan)
        assert_type(await troupe.costs(), CostStatistics)
        assert_type(await troupe.limiter_statistics(), LimiterStatistics)
        await troupe.complete("Say hello.")  # type: ignore[arg-type]  # is no request
    async with aio.bulk([request], "out.jsonl", settings) as results:
        assert_type(results, AsyncioBulkRun)
        assert_type(results.progress(), Progress)
        async for result in results:
            assert_type(result, Result)
    frame = await aio.bulk_dataframe(Label("a"), output="o", template="t")
    assert_type(frame, Label)

    with aio.open_troupe(settings):  # type: ignore[attr-defined]  # needs `async with`
        pass


def from_threads(settings: TroupeSettings, request: Request[Label]) -> None:
    with sync.open_troupe(settings) as troupe:
        assert_type(troupe, BlockingTroupe)
        assert_type(troupe.complete(request, timeout=5), Response[Label])
        with troupe.stream(request) as pieces:
            assert_type(pieces, BlockingStream[Label])
            for piece in pieces:
                assert_type(piece, Delta | Response[Label])
        assert_type(troupe.run_tools(request), ToolRun[Label])
        assert_type(troupe.explain(request), CallPlan)
    with sync.bulk([request], "out.jsonl", settings) as results:
        assert_type(results, BlockingBulkRun)
        assert_type(results.progress(), Progress)
        for result in results:
            assert_type(result, Result)
