"""How a run ends before its input, and what it may cost, on the virtual clock."""

from decimal import Decimal

import attrs
import httpx
import pytest
import trio
from bulk_rows import MODEL, ids, ids_of, lines_of, rows, stage

from callsheet.actors import Limits, Request
from callsheet.actors.responses import Usage
from callsheet.actors.vendors.prices import PriceBook, default_prices
from callsheet.bulk.errors import BulkRefused, BulkStopped
from callsheet.bulk.files.store import RunStore
from callsheet.bulk.settings import Paths
from callsheet.simulator.faults import Faults

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")


def stored_keys(output):
    store = RunStore(Paths(output).store)
    found = store._db.execute("SELECT key FROM responses").fetchall()
    store.close()
    return found


async def test_a_drained_run_is_continued_by_the_next_one(autojump_clock, output):
    async with stage() as it:
        limits = {"limits": Limits(rpm=60, in_flight=5)}
        async with it.open(rows(50), output, troupe=limits) as run:
            await trio.sleep(10)
            run.drain()
            with pytest.raises(BulkStopped, match="the run was stopped"):
                await run.wait()
            progress = run.progress()
            assert not run.is_complete
        assert progress.is_draining
        assert progress.maybe_billed == 0
        assert 5 < progress.answered < 20
        assert it.requests == progress.answered
        await it.run(rows(50), output)
        assert it.requests == 50
    assert ids_of(output) == ids(*range(1, 51))


async def test_leaving_the_block_ends_the_run_and_stores_what_was_sent(autojump_clock, output):
    async with stage() as it:
        async with it.open(rows(500), output, troupe={"limits": Limits(in_flight=5)}) as run:
            async for _ in run:
                break
        assert 1 <= len(ids_of(output)) < 40
        assert it.requests == len(ids_of(output)) == len(stored_keys(output))


async def test_a_cancelled_run_reports_what_may_be_billed(autojump_clock, output):
    async with stage() as it:
        with trio.move_on_after(5.5):
            async with it.open(rows(500), output, troupe={"limits": Limits(in_flight=5)}) as run:
                await run.wait()
        lost = run.progress().maybe_billed
        answered = len(ids_of(output))
        assert lost == it.requests - answered > 0
        async with it.open(rows(10), output) as again:
            assert again.lost_before == lost
            await again.wait()


async def test_the_budget_is_never_exceeded(autojump_clock, output):
    async with stage() as it:
        with pytest.raises(BulkStopped, match="the next call may cost") as caught:
            await it.run(rows(120), output, max_cost="0.0005")
        assert caught.value.ending.kind == "unpaid"
        spent = sum(line["callsheet"]["cost_usd"] for line in lines_of(output))
        assert 0.00045 < spent <= 0.0005
        first = it.requests
        with pytest.raises(BulkStopped):
            await it.run(rows(120), output, max_cost="0.0005")
        assert it.requests <= first + 1
        await it.run(rows(120), output)
        assert it.requests == 120
    assert ids_of(output) == ids(*range(1, 121))


def billed_usd(it):
    """USD at list prices of all that the provider has worked for, received by a client or not."""
    return sum(
        default_prices().cost(model, Usage(bill.input_tokens, bill.output_tokens), tier)
        for model, tiers in it.provider.stats.billed.items()
        for tier, bill in tiers.items()
    )


LOSING = Faults({"lost": 0.05, "500": 0.1, "truncate": 0.05, "no_usage": 0.05})


@pytest.mark.parametrize("route", ["live", "pack"])
@pytest.mark.parametrize(("faults", "runs"), [(Faults(), 2), (LOSING, 1)], ids=["calm", "faults"])
async def test_no_more_is_billed_than_the_budget(autojump_clock, output, route, faults, runs):
    """As the provider counts it: for all runs, and for one run with calls that may be billed."""
    most = Decimal("0.001")
    async with stage(faults=faults, seed=3) as it:
        for _ in range(runs):
            with pytest.raises(BulkStopped, match="the next call may cost"):
                await it.run(rows(400), output, max_cost=most, route=route)
            assert most * 8 / 10 < billed_usd(it) <= most


async def test_resumes_without_a_usage_stay_within_the_budget(autojump_clock, output):
    """What is not known counts at its bound in every later run, too (L13)."""
    most = Decimal("0.001")
    async with stage(faults=Faults({"no_usage": 1.0})) as it:
        for expected in ("the next call may cost", "may have been billed", "may have been billed"):
            with pytest.raises((BulkStopped, BulkRefused), match=expected):
                await it.run(rows(400), output, max_cost=most)
            assert 0 < billed_usd(it) <= most
    store = RunStore(Paths(output).store)
    spend = store.spend
    store.close()
    assert (spend.cost_usd, spend.maybe_usd) == (0, 0)
    assert billed_usd(it) <= spend.unknown_usd <= most


@pytest.mark.parametrize("faults", ["no_usage=1.0", "lost=0.3"])
async def test_what_had_no_price_counts_when_a_later_run_knows_one(autojump_clock, output, faults):
    """The store has the tokens, and the prices of the later run make dollars of them (L13)."""
    none = {"prices": PriceBook({})}
    async with stage(faults=Faults.parse(faults)) as it:
        await it.run(rows(50), output, troupe=none, keep=True)
        with pytest.raises(BulkRefused, match=f"no price is known for {MODEL}, which earlier runs"):
            await it.run(rows(100), output, max_cost="0.005", troupe=none)
        assert billed_usd(it) > Decimal("0.0005")
        with pytest.raises(BulkRefused, match="may have been billed for what told no cost"):
            await it.run(rows(100), output, max_cost="0.0005")
        async with it.open(rows(100), output, max_cost="0.005", keep=True) as run:
            assert billed_usd(it) <= run.progress().unknown_usd < Decimal("0.0025")
            await run.wait()
        assert billed_usd(it) <= Decimal("0.005")


@pytest.mark.parametrize("faults", ["no_usage=1.0", "lost=0.5"])
async def test_resumes_of_packs_stay_within_the_budget(autojump_clock, output, faults):
    """The bound of a pack is that of its call, not that of one of its rows (L13)."""
    most, instruction = Decimal("0.002"), "Label each review as good or bad, with great care. " * 15
    requests = [
        Request.of(f"Review {at}: it was good.", system=instruction, model=MODEL, max_tokens=5)
        for at in range(200)
    ]
    packed = [
        attrs.evolve(row, request=request)
        for row, request in zip(rows(len(requests)), requests, strict=True)
    ]
    async with stage(faults=Faults.parse(faults)) as it:
        for _ in range(2):
            with pytest.raises(BulkStopped, match="the next call may cost"):
                await it.run(packed, output, max_cost=most, route="pack")
            assert 0 < it.requests < 50
            store = RunStore(Paths(output).store)
            spend = store.spend
            store.close()
            assert billed_usd(it) <= spend.at_most_usd <= most
            assert spend.at_most_usd > most * 8 / 10


async def test_requests_that_may_be_billed_count_at_their_bound_in_the_next_run(
    autojump_clock, output
):
    async with stage() as it:
        with trio.move_on_after(5.5):
            async with it.open(rows(500), output, troupe={"limits": Limits(in_flight=5)}) as run:
                await run.wait()
        maybe = run.progress().maybe_usd
        async with it.open(rows(3), output, max_cost="0.01") as again:
            assert again.progress().maybe_usd == maybe > 0
            await again.wait()


class Refusing(httpx.AsyncBaseTransport):
    """A transport whose every connection is refused."""

    async def handle_async_request(self, request):
        await trio.lowlevel.checkpoint()
        raise httpx.ConnectError("refused", request=request)


async def test_a_run_that_ends_does_not_wait_for_an_outage(autojump_clock, output):
    async with stage() as it:
        with pytest.raises(BulkStopped) as caught:
            async with it.open(rows(20), output, troupe={"transport": Refusing()}) as run:
                await trio.sleep(3.0)
                run.drain()
                at = trio.current_time()
                await run.wait()
        assert caught.value.ending.kind == "drained"
        assert trio.current_time() - at < 0.1
        progress = run.progress()
        assert (progress.failed, progress.maybe_billed) == (0, 0)
        assert len(await it.run(rows(20), output)) == 20


async def test_a_row_that_fails_while_the_run_ends_is_not_sent_again(autojump_clock, output):
    async with stage(faults=Faults({"lost": 1.0})) as it:
        with pytest.raises(BulkStopped):
            async with it.open(rows(20), output) as run:
                await trio.sleep(0.5)
                run.drain()
                await run.wait()
        assert it.requests == 20
        assert run.progress().maybe_billed == 20
        assert run.progress().failed == 0


async def test_a_deadline_ends_a_run_in_time(autojump_clock, output):
    async with stage() as it:
        began_at = trio.current_time()
        with pytest.raises(BulkStopped, match="deadline") as caught:
            limits = {"limits": Limits(rpm=60)}
            await it.run(rows(200), output, troupe=limits, deadline_s=30)
        assert caught.value.ending.kind == "late"
        assert trio.current_time() - began_at <= 31
        assert 15 < len(ids_of(output)) <= 31


async def test_a_key_that_is_refused_ends_the_run_rather_than_every_row(autojump_clock, output):
    async with stage(api_key="the right one") as it:
        with pytest.raises(BulkStopped) as caught:
            await it.run(rows(1000), output)
    assert caught.value.ending.kind == "unanswered"
    assert it.requests <= 200
    assert ids_of(output) == []


async def test_an_input_that_fails_ends_the_run_with_the_rows_read_before(autojump_clock, output):
    def broken():
        yield from rows(10)
        raise OSError("the disk is gone")

    async with stage() as it:
        with pytest.raises(BulkStopped, match="cannot be read: the disk is gone"):
            await it.run(broken(), output)
        await it.run(rows(12), output)
    assert ids_of(output) == ids(*range(1, 13))
    assert it.requests <= 22


@pytest.mark.parametrize("settings", [{"max_cost": "0.0005"}, {"deadline_s": 6.0}])
async def test_the_reported_number_of_lost_calls_is_never_too_low(autojump_clock, output, settings):
    """Rows that were not retried, for lack of money or time, count as well (L3)."""
    async with stage(faults=Faults.parse("lost=0.5")) as it:
        with pytest.raises(BulkStopped):
            async with it.open(rows(150), output, **settings) as run:
                await run.wait()
        lost = it.requests - it.provider.stats.answered
        assert 10 < lost <= run.progress().maybe_billed <= lost + 100


class Portal(httpx.AsyncBaseTransport):
    """A transport that answers each request with a page, as a captive portal does."""

    def __init__(self):
        self.requests = 0

    async def handle_async_request(self, request):
        await trio.sleep(1.0)
        self.requests += 1
        return httpx.Response(200, html="<html>Sign in first</html>")


async def test_a_run_ends_when_no_response_can_be_read(autojump_clock, output):
    """L11: it shows what came, and does not buy it for every row."""
    portal = Portal()
    async with stage() as it:
        with pytest.raises(BulkStopped, match="Sign in first") as caught:
            await it.run(
                rows(100), output, troupe={"transport": portal, "limits": Limits(in_flight=2)}
            )
    assert caught.value.ending.kind == "unanswered"
    assert "3 responses in a row" in str(caught.value)
    assert portal.requests <= 4
