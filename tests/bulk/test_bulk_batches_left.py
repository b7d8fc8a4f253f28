"""A run by batches that is stopped early and started again: what it sends, and what it reports.

The tests use the virtual clock. It does not wait for threads, so the journal is written without.
"""

from decimal import Decimal

import pytest
import trio
from bulk_rows import ids_of, lines_of, row, stage

from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.bulk.errors import BulkStopped
from callsheet.simulator.settings import BatchSettings

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")

ROWS, WINDOW = 24, 10  # and so three batches, one after another
LATE_S = 50.0  # too soon for a batch: all rows go live


def rows():
    """Return rows, some of which have the same request."""
    return [row(number, f"Say {number % 20}.") for number in range(1, ROWS + 1)]


def by_batches(output, *, is_durable=True, **more):
    path = output.with_name("journal") if is_durable else None
    troupe = {"batches": BatchApiPolicy(journal=path)}
    return {"route": "batch", "window_rows": WINDOW, "troupe": troupe} | more


async def break_off(it, output, settings, _):
    """Leave the loop at the first result."""
    async with it.open(rows(), output, **settings) as run:
        async for _ in run:
            break
    return run


async def leave(it, output, settings, seconds):
    """Leave the block."""
    async with it.open(rows(), output, **settings) as run:
        await trio.sleep(seconds)
    return run


async def drain(it, output, settings, seconds):
    with pytest.raises(BulkStopped):
        async with it.open(rows(), output, **settings) as run:
            await trio.sleep(seconds)
            run.drain()
            await run.wait()
    return run


async def cancel(it, output, settings, seconds):
    """Cancel the run. A deadline would be known in advance, and rows would go live in time (R4)."""
    found = []

    async def work():
        async with it.open(rows(), output, **settings) as run:
            found.append(run)
            await run.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return found[0]


USUAL = {  # before a batch is created, while it is, and in each of the three
    (leave, 0.5), (leave, 1.5), (leave, 170.0), (drain, 1.0), (drain, 30.0), (drain, 300.0),
    (cancel, 0.5), (cancel, 1.0), (cancel, 1.5), (cancel, 170.0), (cancel, 300.0),
}  # fmt: skip
LEAVINGS = [
    pytest.param(
        way,
        seconds,
        id=f"{way.__name__}-{seconds}",
        marks=[] if (way, seconds) in USUAL else [pytest.mark.slow],
    )
    for way in (leave, drain, cancel)
    for seconds in (0.5, 1.0, 1.5, 30.0, 170.0, 300.0)
]
LEAVINGS.append(pytest.param(break_off, 0.0, id="break"))


def check_all_are_answered(output):
    assert ids_of(output) == [f"r-{number}" for number in range(1, ROWS + 1)]


def routes(output):
    return [line["callsheet"]["route"] for line in lines_of(output)]


@pytest.mark.parametrize(("way", "seconds"), LEAVINGS)
async def test_a_run_that_is_stopped_resumes_its_batches(autojump_clock, output, way, seconds):
    """Sent rows are in the journal, so they are not lost and not reported as lost (L3, L7)."""
    settings = by_batches(output)
    async with stage() as it:
        run = await way(it, output, settings, seconds)
        assert len(ids_of(output)) < ROWS
        assert run.progress().maybe_billed == run.progress().in_batches == 0
        async with it.open(rows(), output, **settings) as again:
            assert again.lost_before == 0
            await again.wait()
            assert again.progress().maybe_billed == 0
        assert it.provider.stats.batch_lines == ROWS
        assert it.provider.stats.batches == 3
        assert it.requests == 0
    check_all_are_answered(output)
    assert set(routes(output)) == {"batch"}


@pytest.mark.parametrize(
    ("way", "seconds"),
    [
        (leave, 1.5),
        (drain, 170.0),
        (cancel, 1.5),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((leave, 170.0), (drain, 1.5), (cancel, 170.0))
        ),
    ],
)
async def test_rows_left_in_batches_count_once_against_the_budget(
    autojump_clock, output, way, seconds
):
    """The run that takes their results knows what they have cost (L13)."""
    settings, spent = by_batches(output, max_cost="1"), Decimal(0)
    async with stage() as it:
        for _ in range(2):  # the second one finds the batch of the first
            run = await way(it, output, settings, seconds)
            spent += run.progress().cost_usd
        async with it.open(rows(), output, **settings) as again:
            await again.wait()
        now = again.progress()
        assert now.in_batches == now.maybe_usd == now.unknown_usd == 0
        assert now.spent_usd == spent + now.cost_usd > 0
    check_all_are_answered(output)


async def test_a_run_says_how_many_rows_are_in_batches_also_if_it_found_them(
    autojump_clock, output
):
    settings = by_batches(output)
    async with stage() as it:
        for _ in range(2):
            async with it.open(rows(), output, **settings) as run:
                await trio.sleep(30)
                assert run.progress().in_batches == WINDOW
            assert run.progress().in_batches == 0


async def test_a_run_that_is_stopped_repeatedly_sends_nothing_twice(autojump_clock, output):
    settings = by_batches(output)
    async with stage() as it:
        for seconds in (1.5, 3.0, 20.0, 120.0, 40.0, 7.0, 200.0, 1.0, 90.0):
            await cancel(it, output, settings, seconds)
        await it.run(rows(), output, **settings)
        assert it.provider.stats.batch_lines == ROWS
        assert it.provider.stats.batches == 3
        assert it.requests == 0
    check_all_are_answered(output)


@pytest.mark.parametrize("seconds", [30.0, 170.0, 300.0])
async def test_results_of_removed_rows_are_kept_for_a_later_run(autojump_clock, output, seconds):
    """The resumed run has fewer rows; the next run has all rows again, and sends none of them."""
    settings = by_batches(output)
    async with stage() as it:
        await cancel(it, output, settings, seconds)
        await it.run(rows()[::2], output, **settings)
        assert ids_of(output) == [one.custom_id for one in rows()[::2]]
        await it.run(rows(), output, **settings)
        assert it.provider.stats.batch_lines == ROWS
        assert it.requests == 0
    check_all_are_answered(output)


@pytest.mark.parametrize(
    "seconds",
    [30.0, 170.0, 400.0, *(pytest.param(it, marks=pytest.mark.slow) for it in (200.0, 300.0))],
)
async def test_lines_that_fail_are_sent_live_whenever_the_run_is_left(
    autojump_clock, output, seconds
):
    """Each row is in a batch once; rows without a response there get a response to a live call."""
    settings = by_batches(output)
    async with stage(batches=BatchSettings(unanswered=0.5), seed=1) as it:
        await cancel(it, output, settings, seconds)
        await it.run(rows(), output, **settings)
        failed = ROWS - routes(output).count("batch")
        assert failed >= ROWS / 4
        assert it.provider.stats.batch_lines == ROWS
    check_all_are_answered(output)


@pytest.mark.parametrize("way", [leave, drain])
async def test_a_batch_without_a_journal_is_waited_for(autojump_clock, output, way):
    """Without a journal, the billed responses would be lost."""
    settings = by_batches(output, is_durable=False)
    async with stage() as it:
        run = await way(it, output, settings, 30.0)
        assert run.progress().maybe_billed == 0
        assert len(ids_of(output)) == it.provider.stats.batch_lines > 0


async def test_a_batch_without_a_journal_is_reported_when_it_is_given_up(autojump_clock, output):
    """Without a journal, the billed responses are lost (L3)."""
    settings = by_batches(output, is_durable=False)
    async with stage() as it:
        run = await cancel(it, output, settings, 30.0)
        await trio.sleep(1000)
        billed = it.provider.stats.batch_lines
        assert billed > 0
        assert billed <= run.progress().maybe_billed <= WINDOW
        async with it.open(rows(), output, **settings) as again:
            assert again.lost_before == run.progress().maybe_billed
            await again.wait()
    check_all_are_answered(output)


async def test_live_calls_are_reported_as_possibly_lost_when_cancelled(autojump_clock, output):
    """The journal has batches only; a live call is lost with its caller (L3)."""
    settings = by_batches(output, deadline_s=LATE_S)
    async with stage() as it:
        run = await cancel(it, output, settings, 1.5)
        answered = len(ids_of(output))
        assert it.requests > answered
        assert run.progress().maybe_billed == it.requests - answered
        async with it.open(rows(), output, **settings) as again:
            assert again.lost_before == it.requests - answered
            await again.wait()
    check_all_are_answered(output)
