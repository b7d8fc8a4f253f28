"""A holder that takes a run over keeps `--max-cost` together with what workers have in hand."""

from decimal import Decimal

import attrs
import pytest
import trio
from bulk_rows import MODEL, ids, ids_of, rows
from shared_runs import shared_stage, workers

from callsheet.actors import Price, PriceBook, Response, Usage
from callsheet.bulk import BulkStopped
from callsheet.bulk.shared import sharing
from callsheet.bulk.shared.old_calls import OldCalls
from callsheet.bulk.shared.queue import BEAT_S, RowAnswer
from callsheet.bulk.shared.reports import WorkerReport
from callsheet.bulk.shared.wire import CallEnd, encode_end

TROUPE = {"troupe": {"prices": PriceBook({MODEL: Price(Decimal(0), Decimal(1000))})}}
ROW = Decimal("0.02")  # 20 tokens


async def _hold_rows(shared, count, nursery):
    """Let a worker take rows, and keep them; return how it hands in responses to them."""
    queue = shared.queue.another()
    taken = (await queue.take("slow", count, wait_s=5)).rows

    async def beat():
        while True:
            await queue.beat("slow", b"", [row.entry for row in taken])
            await trio.sleep(BEAT_S)

    async def hand_in():
        response = Response(
            text="yes", model=MODEL, finish_reason="stop", usage=Usage(5, 20), cost_usd=ROW
        )
        body = encode_end(CallEnd(response, "slow"))
        await queue.answer("slow", [RowAnswer(row.entry, row.row.key, body) for row in taken])

    nursery.start_soon(beat)
    return hand_in


async def _killed_run(shared, output, given, hold, nursery):
    """Run until a worker has some rows, then die without a last word; return `hand_in`."""
    found = []
    with trio.CancelScope() as scope:
        async with shared.open(given, output, max_cost=Decimal(2), **TROUPE):
            found.append(await _hold_rows(shared, hold, nursery))
            shared.queue.away = True
            scope.cancel()
    await trio.sleep(15)
    shared.queue.away = False
    sharing._token.cache_clear()  # as in another process with the same host and pid
    return found[0]


async def test_a_process_with_the_same_host_and_pid_waits_for_the_lease_of_the_one_before(
    autojump_clock, output
):
    async with shared_stage() as shared:
        await shared.queue.another().hold(sharing.this_process(), b"", lease_s=8)
        sharing._token.cache_clear()
        began = trio.current_time()
        async with workers(shared, 1):
            await shared.run(rows(1), output)
    assert trio.current_time() - began > 5
    assert shared.told[0].startswith("Waiting up to 13 s, in case ")


async def test_rows_in_hand_that_input_has_no_more_count_against_the_budget(autojump_clock, output):
    many = rows(30)
    async with shared_stage() as shared, trio.open_nursery() as nursery:
        await _killed_run(shared, output, many, 4, nursery)
        async with (
            workers(shared, 2, most=8, **TROUPE),
            shared.open(many[4:], output, max_cost=10 * ROW, **TROUPE) as run,
        ):
            with pytest.raises(BulkStopped) as caught:
                await run.wait()
        nursery.cancel_scope.cancel()
    assert caught.value.ending.kind == "unpaid"
    assert 4 <= shared.stage.requests <= 6
    now = run.progress()
    assert (now.maybe_billed, now.maybe_usd) == (4, 4 * ROW)
    assert now.spent_usd <= 10 * ROW


@pytest.mark.parametrize("is_early", [True, False])
async def test_rows_in_hand_take_over_what_is_set_aside_for_them(is_early, autojump_clock, output):
    """A budget that is just enough for all rows is enough after a takeover, too."""
    many = rows(10)
    async with shared_stage() as shared, trio.open_nursery() as nursery:
        hand_in = await _killed_run(shared, output, many, 4, nursery)
        if is_early:
            await hand_in()
        async with (
            workers(shared, 2, most=8, **TROUPE),
            shared.open(many, output, max_cost=10 * ROW + Decimal("0.001"), **TROUPE) as run,
        ):
            if not is_early:
                await trio.sleep(1)
                await hand_in()
            await run.wait()
        nursery.cancel_scope.cancel()
    assert ids_of(output) == ids(*range(1, 11))
    assert shared.stage.requests == 6
    now = run.progress()
    assert (now.maybe_billed, now.maybe_usd) == (0, 0)
    assert now.cost_usd == pytest.approx(10 * ROW, rel=Decimal("0.01"))


async def test_rows_in_hand_when_the_queue_is_lost_are_not_sent_again_within_a_budget(
    autojump_clock, output
):
    """Their workers live, and hand them in later: the holder waits for their calls."""
    async with shared_stage(latency_s=(20, 20)) as shared:
        shared.works = True
        async with shared.open(rows(30), output, max_cost=Decimal(2), **TROUPE) as run:
            await trio.sleep(10)  # calls are in flight
            shared.queue.lose_data()
            async with workers(shared, 1, **TROUPE):
                await run.wait()
    assert shared.stage.requests == 30
    now = run.progress()
    assert (now.answered, now.maybe_billed, now.shared.again) == (30, 0, 0)


def test_a_lost_queue_has_no_rows_before_every_worker_was_heard_of_or_its_lease_has_ended():
    calls = OldCalls()
    busy = attrs.evolve(WorkerReport.of_this_process(), in_hand=1).encode()
    calm = WorkerReport.of_this_process().encode()
    assert calls.is_over
    calls.begin(0.0, {"living": busy, "dead": busy})
    ends = [calls.hear(3.0 * at, {"living": busy if at < 4 else calm}) for at in range(9)]
    assert ends.index(True) == 6  # the third look at which "living" is calm
    calls.begin(0.0, {"living": calm, "dead": busy})
    ends = [calls.hear(3.0 * at, {"living": calm}) for at in range(9)]
    assert ends.index(True) == 5  # after 13 s
    calls.begin(0.0, {})
    assert [calls.hear(3.0 * at, {}) for at in range(5)].index(True) == 3
