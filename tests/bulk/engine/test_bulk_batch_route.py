"""`--route batch` that cannot be had ends the run; `--route auto` says what it does instead."""

import httpx
import pytest
from bulk_rows import ids, ids_of, lines_of, row, rows, stage

from callsheet.actors import BatchApiPolicy, CallEvent, Endpoint, Request
from callsheet.bulk.errors import BulkRefused, BulkStopped

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")

DAY_S = 86_400.0


class Refusing(httpx.AsyncBaseTransport):
    """A server that has no Batch API.

    Args:
        to: handles all other requests.
        status: the status of its refusals.
    """

    def __init__(self, to, status):
        self.to, self.status, self.refused = to, status, 0

    async def handle_async_request(self, request):
        if request.url.path in ("/v1/files", "/v1/batches"):
            self.refused += 1
            await request.aread()
            return httpx.Response(self.status, json={"detail": "Method Not Allowed"})
        return await self.to.handle_async_request(request)


@pytest.mark.parametrize(
    "status", [400, 405, *(pytest.param(it, marks=pytest.mark.slow) for it in (404, 501))]
)
async def test_a_server_that_refuses_batches_ends_the_run_unpaid(autojump_clock, output, status):
    async with stage() as it:
        refusing = Refusing(it.transport, status)
        with pytest.raises(BulkStopped) as caught:
            await it.run(rows(20), output, route="batch", troupe={"transport": refusing})
        assert (it.requests, refusing.refused) == (0, 1)
    assert caught.value.ending.kind == "unbatched"
    assert f"--route batch: a batch was refused: provider returned {status}" in str(caught.value)
    assert "choose another route (--route live)" in str(caught.value)
    async with stage() as it:
        await it.run(rows(20), output, route="live")
        assert it.requests == 20
    assert ids_of(output) == ids(*range(1, 21))


async def test_auto_goes_live_and_says_why(autojump_clock, output):
    events: list[CallEvent] = []
    async with stage() as it:
        refusing = Refusing(it.transport, 405)
        troupe = {"transport": refusing, "observer": events.append}
        async with it.open(
            rows(50), output, deadline_s=DAY_S, window_rows=10, troupe=troupe
        ) as run:
            await run.wait()
        assert (it.requests, refusing.refused) == (50, 1)
        assert run.progress().rerouted == 50
    why = {event.error for event in events if event.stage == "rerouted"}
    assert len(why) == 1
    assert "provider returned 405" in why.pop()
    assert {line["callsheet"]["route"] for line in lines_of(output)} == {"live"}


async def test_auto_remarks_that_a_vendor_has_no_batches(autojump_clock, output):
    troupe = {"endpoint": Endpoint("http://provider/v1", None, "compatible")}
    async with stage() as it:
        async with it.open(rows(5), output, deadline_s=DAY_S, troupe=troupe) as run:
            await run.wait()
        assert run.remark == (
            "Callsheet supports no Batch API of an OpenAI-compatible API; rows are sent live."
            " If the address has that of OpenAI, add --provider openai."
        )
        async with it.open(rows(6), output, troupe=troupe) as run:
            await run.wait()
        assert run.remark == ""
        assert it.requests == 6


async def test_a_vendor_without_batches_is_refused_whatever_the_policy(autojump_clock, output):
    endpoint = Endpoint("http://provider/v1", None, "compatible")
    troupe = {"endpoint": endpoint, "batches": BatchApiPolicy()}
    async with stage() as it:
        with pytest.raises(BulkRefused, match="supports no Batch API of an OpenAI-compatible"):
            await it.run(rows(5), output, route="batch", troupe=troupe)


async def test_a_model_without_a_batch_price_goes_into_batches_if_the_route_says_so(
    autojump_clock, output
):
    """An unknown price is never the cheapest, so that all rows went live."""
    troupe = {"batches": BatchApiPolicy()}
    known = row(1)
    model = "gpt-5.3-codex"  # its price live is known, and none for batches
    request = Request.of("Say 1.", model=model, max_tokens=20)
    async with stage() as it:
        given = type(known)(
            number=1, custom_id="r-1", request=request, key=known.key, url=known.url
        )
        await it.run([given], output, route="batch", troupe=troupe)
        assert (it.provider.stats.batch_lines, it.requests) == (1, 0)


async def test_a_tier_is_sent_in_the_line_and_not_live(autojump_clock, output):
    troupe = {"batches": BatchApiPolicy()}
    given = row(1, extra_body={"service_tier": "flex"})
    async with stage() as it:
        await it.run([given], output, route="batch", troupe=troupe)
        assert (it.provider.stats.batch_lines, it.requests) == (1, 0)
