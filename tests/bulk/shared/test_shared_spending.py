"""What a shared run has spent: each call is counted once, and its budget holds for all workers."""

from contextlib import suppress
from decimal import Decimal
from functools import partial

import pytest
import trio
from bulk_rows import MODEL, ids, ids_of, lines_of, row, rows
from shared_runs import dying_run, mortal_worker, reviews, shared_stage, workers

from callsheet.actors import LedgerPolicy, Price, PriceBook, Response, Usage, read_sums
from callsheet.bulk import BulkStopped
from callsheet.bulk.shared import sharing
from callsheet.bulk.shared.queue import RowAnswer
from callsheet.bulk.shared.wire import CallEnd, encode_end
from callsheet.simulator.faults import Faults

PRICES = PriceBook({MODEL: Price(Decimal(0), Decimal(1000))})  # 20 tokens are 2 cents


@pytest.mark.parametrize("is_last", [False, True])
async def test_what_the_worker_before_a_loss_has_paid_for_counts_when_another_was_first(
    is_last, autojump_clock, output
):
    """The answer of the first one is stored already, or it is not."""
    async with shared_stage() as shared:
        more = {"troupe": {"prices": PRICES}, "max_cost": Decimal(1)}
        async with shared.open(rows(2), output, **more) as run:
            old, new = shared.queue.another(), shared.queue.another()
            (had, _) = (await old.take("old", 2, wait_s=5)).rows
            shared.queue.lose_data()
            await trio.sleep(20)  # nothing is heard of "old"
            (again, other) = (await new.take("new", 2, wait_s=5)).rows
            assert again.row.key == had.row.key
            response = Response(
                text="no",
                model=MODEL,
                finish_reason="stop",
                usage=Usage(5, 20),
                cost_usd=Decimal("0.02"),
            )
            for name, queue, taken in (("new", new, again), ("old", old, had)):
                body = encode_end(CallEnd(response, name))
                for _ in range(2):  # a reply may be lost
                    await queue.answer(name, [RowAnswer(taken.entry, taken.row.key, body)])
                await trio.sleep(5 if is_last else 0)
            body = encode_end(CallEnd(response, "new"))
            await trio.sleep(5)
            await new.answer("new", [RowAnswer(other.entry, other.row.key, body)])
            await run.wait()
        now = run.progress()
    assert (now.answered, now.shared.again, now.maybe_billed) == (2, 1, 1)
    assert (now.cost_usd, now.maybe_usd) == (Decimal("0.04"), Decimal("0.02"))
    assert not any("responses on the server" in told for told in shared.told)


@pytest.mark.parametrize("is_away", [False, True])
async def test_rows_that_no_worker_has_cost_nothing_when_the_block_is_left_at_once(
    is_away, autojump_clock, output
):
    """While the server is away, it is not known what became of the rows that were put."""
    more = {"troupe": {"prices": PRICES}, "max_cost": Decimal(1)}
    async with shared_stage() as shared:
        with pytest.raises(KeyError):
            async with shared.open(rows(30), output, **more) as run:
                await trio.sleep(1)
                shared.queue.away = is_away
                began = trio.current_time()
                raise KeyError
        now = run.progress()
        assert trio.current_time() - began < 8
        assert now.maybe_billed == (30 if is_away else 0)
        assert round(now.maybe_usd, 3) == Decimal("0.02") * now.maybe_billed


async def test_rows_in_hand_when_the_block_is_left_at_once_count_until_the_next_run_has_them(
    autojump_clock, output
):
    troupe = {"prices": PRICES}
    async with shared_stage() as shared, workers(shared, 2, most=2, troupe=troupe):
        with pytest.raises(KeyError):
            async with shared.open(rows(30), output, troupe=troupe, max_cost=Decimal(1)) as run:
                await trio.sleep(4)
                raise KeyError
        now = run.progress()
        assert (now.maybe_billed, round(now.maybe_usd, 3)) == (4, Decimal("0.08"))
        assert now.spent_usd == now.cost_usd + now.maybe_usd
        await trio.sleep(60)
        async with shared.open(rows(30), output, troupe=troupe, max_cost=Decimal(1)) as run:
            await run.wait()
        now = run.progress()
        assert shared.stage.requests == 30
        assert (now.maybe_billed, now.maybe_usd) == (0, 0)
        assert now.spent_usd == Decimal("0.6")


async def test_the_budget_holds_for_all_workers(autojump_clock, output):
    async with shared_stage() as shared, workers(shared, 3, troupe={"prices": PRICES}):
        with pytest.raises(BulkStopped) as caught:
            async with shared.open(
                rows(60), output, troupe={"prices": PRICES}, max_cost=Decimal("0.2")
            ) as run:
                await run.wait()
        assert caught.value.ending.kind == "unpaid"
        spent = sum(line["callsheet"]["cost_usd"] for line in lines_of(output))
        assert 0.15 < spent <= 0.2
        assert run.progress().maybe_billed == 0


async def test_a_row_whose_worker_has_ended_is_reserved_for_once_more_before_it_is_sent_again(
    autojump_clock, output
):
    """So the budget holds for what is paid twice, too."""
    troupe, budget = {"prices": PRICES}, Decimal("0.2")
    async with shared_stage() as shared, trio.open_nursery() as nursery:
        mortal = await nursery.start(partial(mortal_worker, shared, 4, troupe=troupe))
        async with shared.open(rows(30), output, troupe=troupe, max_cost=budget) as run:
            await trio.sleep(1)  # it has rows in hand
            mortal.cancel()
            async with workers(shared, 2, troupe=troupe):
                with pytest.raises(BulkStopped, match="may have been billed"):
                    await run.wait()
        now = run.progress()
        assert Decimal("0.02") * shared.stage.requests <= now.spent_usd <= budget
        assert (now.shared.again, now.maybe_billed) == (4, 4)
        assert now.maybe_usd == pytest.approx(Decimal("0.08"), abs=Decimal("0.001"))
        nursery.cancel_scope.cancel()


async def test_rows_that_a_killed_holder_has_put_are_not_sent_beyond_a_lower_budget(
    autojump_clock, output
):
    more = {"troupe": {"prices": PRICES}}
    async with shared_stage() as shared:
        async with trio.open_nursery() as nursery:
            first = partial(dying_run, shared, output, 30, max_cost=Decimal(1), **more)
            dead = await nursery.start(first)
            await trio.sleep(1)
            shared.queue.away = True  # its last words are lost, as after a kill
            dead.cancel()
        await trio.sleep(15)
        shared.queue.away = False
        sharing._token.cache_clear()  # another process with the same host and pid
        async with (
            shared.open(rows(30), output, max_cost=Decimal("0.1"), **more) as run,
            workers(shared, 2, most=8, **more),
        ):
            with pytest.raises(BulkStopped):
                await run.wait()
            await trio.sleep(30)
        assert 3 <= shared.stage.requests <= 5


async def test_a_row_that_each_worker_has_ended_over_counts_as_often_in_the_ledger(
    autojump_clock, output
):
    troupe = {"prices": PRICES, "ledger": LedgerPolicy()}
    async with shared_stage() as shared, shared.open(rows(1), output, troupe=troupe) as run:
        for number in range(6):
            queue = shared.queue.another()
            await queue.take(f"mortal-{number}", 1, wait_s=5)
            await queue.leave(f"mortal-{number}")
        await run.wait()
    now = run.progress()
    assert (now.failed, now.maybe_billed) == (1, 5)
    assert now.maybe_usd == pytest.approx(Decimal("0.1"), abs=Decimal("0.001"))


@pytest.mark.parametrize("kind", ["drained", "late"])
async def test_rows_that_no_worker_has_cost_nothing_when_a_run_ends(kind, autojump_clock, output):
    troupe = {"prices": PRICES}
    async with shared_stage() as shared, workers(shared, 2, most=2, troupe=troupe):
        more = {"deadline_s": 10} if kind == "late" else {}
        with pytest.raises(BulkStopped) as caught:
            async with shared.open(
                rows(60), output, troupe=troupe, max_cost=Decimal("1.3"), **more
            ) as run:
                if kind == "drained":
                    await trio.sleep(10)
                    run.drain()
                await run.wait()
        assert caught.value.ending.kind == kind
        # In a run that is late, the rows of workers may be billed: two workers had two each.
        assert run.progress().maybe_usd <= (Decimal("0.08") if kind == "late" else 0)
        assert run.progress().answered < 40
        assert len(await shared.run(rows(60), output, troupe=troupe, max_cost=Decimal("1.3"))) == 60
    assert ids_of(output) == ids(*range(1, 61))


async def test_rows_that_the_provider_refuses_cost_nothing(autojump_clock, output):
    troupe = {"prices": PRICES}
    bad = [row(number, "tea " * 200_000) for number in (1, 2)]  # more than the model's context
    async with (
        shared_stage() as shared,
        workers(shared, 1, troupe=troupe),
        shared.open(bad, output, troupe=troupe, max_cost=Decimal(1)) as run,
    ):
        await run.wait()
    assert (run.progress().failed, run.progress().maybe_usd) == (2, 0)


async def test_rows_in_packs_cost_their_shares_and_no_more(autojump_clock, output):
    troupe = {"prices": PRICES}
    path = output.with_suffix(".db")
    async with shared_stage() as shared, workers(shared, 1, most=20, troupe=troupe):
        ledger = {"ledger": LedgerPolicy(path=path)}
        async with shared.open(reviews(20), output, troupe=troupe | ledger, route="pack") as run:
            await run.wait()
    booked = [
        amount.usd
        for _, account, amount in read_sums(path, "route", now=0.0)
        if account not in {"available", "reserved"}
    ]
    assert shared.stage.requests < 20
    now = run.progress()
    assert (now.maybe_billed, now.maybe_usd, now.unknown_usd) == (0, 0, 0)
    assert sum(booked) == now.cost_usd > 0


async def test_a_row_that_shares_the_call_of_another_one_at_its_worker_costs_nothing(
    autojump_clock, output
):
    troupe = {"prices": PRICES, "ledger": LedgerPolicy()}
    async with shared_stage() as shared, shared.open(rows(1), output, troupe=troupe) as run:
        queue = shared.queue.another()
        (taken,) = (await queue.take("worker", 1, wait_s=5)).rows
        response = Response(
            text="yes",
            model=MODEL,
            finish_reason="stop",
            usage=Usage(),
            cost_usd=Decimal(0),
            http_requests=0,
        )
        body = encode_end(CallEnd(response))
        await queue.answer("worker", [RowAnswer(taken.entry, taken.row.key, body)])
        await run.wait()
    now = run.progress()
    assert (now.answered, now.maybe_usd, now.unknown_usd) == (1, 0, 0)


async def test_a_worker_makes_no_attempt_that_the_budget_has_no_reservation_for(
    autojump_clock, output
):
    """Broken responses may have been billed: each is counted before the row is sent again."""
    async with shared_stage(faults=Faults.parse("lost=0.5"), seed=3) as shared:
        shared.works = True
        async with shared.open(
            rows(12), output, troupe={"prices": PRICES}, max_cost=Decimal(1)
        ) as run:
            with suppress(BulkStopped):
                await run.wait()
            now = run.progress()
        assert shared.stage.requests > 12
        assert now.maybe_billed > 0
        billed = Decimal("0.02") * shared.stage.requests
        assert billed <= now.spent_usd + Decimal("0.0001") <= 1
