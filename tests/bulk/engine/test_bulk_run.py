"""A run from its rows to its files, on the virtual clock."""

import itertools
from decimal import Decimal

import httpx
import pytest
import trio
from bulk_rows import URL, ids_of, lines_of, on_the_spot, row, stage

from callsheet.actors import Endpoint, Limits, TroupeSettings
from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.actors.messages import Usage
from callsheet.actors.vendors.prices import default_prices
from callsheet.bulk import bulk
from callsheet.bulk.errors import BulkRefused, BulkStopped
from callsheet.bulk.files.store import RunStore
from callsheet.bulk.row import BadRow
from callsheet.bulk.settings import BulkSettings, Paths
from callsheet.simulator.faults import Faults

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")

INSTRUCTION = (
    "Classify the product review that follows. Answer with one label only: positive, negative or "
    "neutral."
)


def rows(count, first=1):
    return [row(number) for number in range(first, first + count)]


def ids(*numbers):
    return [f"r-{number}" for number in numbers]


async def test_every_row_is_answered_in_the_order_of_the_input(autojump_clock, output):
    async with stage() as it:
        results = await it.run(rows(50), output)
    assert [result.number for result in results] == list(range(1, 51))
    assert ids_of(output) == ids(*range(1, 51))
    assert it.requests == 50
    line = lines_of(output)[0]
    assert line["response"]["body"]["choices"][0]["message"]["content"] == results[0].response.text
    assert line["callsheet"]["attempts"] == 1
    assert results[0].response.route == "live"


async def test_an_answer_is_on_disk_before_it_is_told(autojump_clock, output):
    """L7."""
    told = []

    def observe(ended):
        told.append(ended.custom_id)
        assert ended.custom_id.encode() in stored()

    def stored():
        return (
            Paths(output).store.read_bytes()
            + Paths(output).store.with_name("out.jsonl.callsheet-wal").read_bytes()
        )

    async with stage() as it, it.open(rows(20), output, observers=[observe]) as results:
        async for result in results:
            assert result.custom_id.encode() in stored()
    assert sorted(told) == sorted(ids(*range(1, 21)))


async def test_a_second_run_asks_for_nothing_and_writes_nothing(autojump_clock, output):
    async with stage() as it:
        await it.run(rows(20), output)
        before = output.read_bytes()
        results = await it.run(rows(20), output)
    assert it.requests == 20
    assert output.read_bytes() == before
    assert all(result.told.is_reused for result in results)


@pytest.mark.parametrize("ordered", [True, False])
async def test_only_what_changed_is_asked_for_again(autojump_clock, output, ordered):
    """Rows are added at the front, taken out, changed, and put in another order."""
    changed = row(7, "Something else.")
    wanted = [row(99), *rows(4, first=15), changed, *rows(5)]
    async with stage() as it:
        await it.run(rows(20), output, ordered=ordered)
        await it.run(wanted, output, ordered=ordered)
        asked = it.requests - 20
        if ordered:
            assert ids_of(output) == [one.custom_id for one in wanted]
        assert sorted(ids_of(output)) == sorted(one.custom_id for one in wanted)
        await it.run(rows(20), output, ordered=ordered)
    assert asked == 2
    assert it.requests == 22
    assert sorted(ids_of(output)) == sorted(ids(*range(1, 21)))


async def test_an_id_that_is_made_of_the_place_follows_the_row(autojump_clock, output):
    first = row(1, "The same.", custom_id="row-1")
    moved = row(2, "The same.", custom_id="row-2").__class__(
        number=2, custom_id="row-2", request=first.request, key=first.key, url=first.url
    )
    async with stage() as it:
        await it.run([first], output)
        await it.run([row(1, "New.", custom_id="row-1"), moved], output)
    assert ids_of(output) == ["row-1", "row-2"]
    assert it.requests == 2


async def test_an_id_that_is_there_twice_is_a_bad_row(autojump_clock, output):
    async with stage() as it:
        results = await it.run([row(1), row(2, "Other.", custom_id="r-1"), row(3)], output)
    assert ids_of(output) == ids(1, 3)
    (line,) = lines_of(Paths(output).errors)
    assert line["callsheet"]["row"] == 2
    assert "is that of row 1 already" in line["error"]["message"]
    assert [result.error for result in results] == [None, "BadRow", None]
    with pytest.raises(ValueError, match="has no answer"):
        _ = results[1].response


async def test_bad_rows_are_told_of_with_number_and_reason(autojump_clock, output):
    bad = BadRow(number=2, reason="it is no JSON", text="{")
    async with stage() as it, it.open([row(1), bad, row(3)], output) as run:
        await run.wait()
        progress = run.progress()
    assert (progress.answered, progress.bad, progress.ended) == (2, 1, 3)
    (line,) = lines_of(Paths(output).errors)
    assert line["error"] == {"code": "BadRow", "message": "it is no JSON"}


async def test_rows_that_failed_are_asked_again_by_the_next_run(autojump_clock, output):
    endless = row(2, "tea " * 200_000)  # more tokens than the model's context holds
    async with stage() as it:
        results = await it.run([row(1), endless, row(3)], output)
        assert [result.error for result in results] == [None, "BadRequest", None]
        assert ids_of(output) == ids(1, 3)
        (line,) = lines_of(Paths(output).errors)
        assert line["response"]["status_code"] == 400
        before = it.requests
        await it.run([row(1), endless, row(3)], output)
        assert it.requests == before + 1
        await it.run([row(1), row(3)], output)
    assert not Paths(output).errors.exists()


async def test_no_more_is_read_than_the_window_has(autojump_clock, output):
    """The first row is slow: what comes after it waits for it, and nothing more is read."""
    read = itertools.count(1)

    async def slow_first(request):
        await trio.sleep(1000 if b"Say 1." in request.content else 1)
        return httpx.Response(200, json=answer())

    source = (row(next(read)) for _ in range(500))
    troupe = TroupeSettings(
        endpoint=Endpoint(URL, None, "openai"),
        transport=httpx.MockTransport(slow_first),
        streaming=False,
    )
    settings = BulkSettings(window_rows=40)
    async with bulk(source, output, troupe, settings, in_thread=on_the_spot) as run:
        await trio.sleep(500)
        progress = run.progress()
        assert (progress.read, progress.unwritten, progress.window) == (40, 39, 40)
        assert output.read_bytes() == b""
        await run.wait()
    assert ids_of(output) == ids(*range(1, 501))


async def test_results_that_nobody_takes_hold_the_reading_up(autojump_clock, output):
    async with stage() as it, it.open(rows(300), output, window_rows=50) as run:
        await trio.sleep(1000)
        assert run.progress().read <= 100
        count = 0
        async for _ in run:
            count += 1
    assert count == 300


async def test_unordered_answers_come_as_they_come(autojump_clock, output):
    async with stage() as it:
        results = await it.run(rows(50), output, ordered=False)
    assert ids_of(output) == [result.custom_id for result in results]
    assert ids_of(output) != ids(*range(1, 51))
    assert sorted(ids_of(output)) == sorted(ids(*range(1, 51)))


async def test_a_run_that_is_drained_goes_on_from_there(autojump_clock, output):
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


async def test_who_leaves_the_block_ends_the_run_and_keeps_what_was_sent(autojump_clock, output):
    async with stage() as it:
        async with it.open(rows(500), output, troupe={"limits": Limits(in_flight=5)}) as run:
            async for _ in run:
                break
        assert 1 <= len(ids_of(output)) < 40
        assert it.requests == len(ids_of(output)) == len(kept(output))


async def test_a_run_that_is_cancelled_tells_what_may_be_billed(autojump_clock, output):
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


def kept(output):
    store = RunStore(Paths(output).store)
    found = store._db.execute("SELECT key FROM responses").fetchall()
    store.close()
    return found


async def test_nobody_is_asked_in_a_pause(autojump_clock, output):
    async with stage() as it:
        limits = {"limits": Limits(rpm=60, in_flight=5)}
        async with it.open(rows(30), output, troupe=limits) as run:
            await trio.sleep(10)
            run.pause()
            await trio.sleep(10)
            before = it.requests
            await trio.sleep(1000)
            assert it.requests == before
            assert run.progress().is_paused
            assert run.progress().in_flight == 0
            run.resume()
            await run.wait()
    assert ids_of(output) == ids(*range(1, 31))
    assert it.requests == 30


async def test_limits_can_be_changed_meanwhile(autojump_clock, output):
    async with stage() as it:
        limits = {"limits": Limits(rpm=6)}
        began_at = trio.current_time()
        async with it.open(rows(100), output, troupe=limits) as run:
            await trio.sleep(20)
            await run.change_limits(Limits())
            await run.wait()
            assert trio.current_time() - began_at < 60
            run.progress()
            await trio.sleep(1)


@pytest.mark.parametrize(("most", "expected"), [(None, 5), (30, 30)])
async def test_as_many_are_in_flight_as_the_limits_come_to_allow(
    autojump_clock, output, most, expected
):
    async with stage() as it:
        troupe = {"limits": Limits(in_flight=5), "max_in_flight": most}
        async with it.open(rows(200), output, troupe=troupe) as run:
            await trio.sleep(5)
            await run.change_limits(Limits(in_flight=40))
            await run.wait()
        assert it.provider.stats.max_in_flight == expected


async def test_the_money_is_never_gone_beyond(autojump_clock, output):
    async with stage() as it:
        with pytest.raises(BulkStopped, match="the next call might cost") as caught:
            await it.run(rows(200), output, max_cost="0.001")
        assert caught.value.ending.kind == "unpaid"
        spent = sum(line["callsheet"]["cost_usd"] for line in lines_of(output))
        assert 0.0009 < spent <= 0.001
        first = it.requests
        with pytest.raises(BulkStopped):
            await it.run(rows(200), output, max_cost="0.001")
        assert it.requests <= first + 1
        await it.run(rows(200), output)
        assert it.requests == 200
    assert ids_of(output) == ids(*range(1, 201))


def billed_usd(it):
    """USD at list prices of all that the provider has worked for, whoever heard of it."""
    return sum(
        default_prices().cost(model, Usage(bill.input_tokens, bill.output_tokens), tier)
        for model, tiers in it.provider.stats.billed.items()
        for tier, bill in tiers.items()
    )


LOSING = Faults({"lost": 0.05, "500": 0.1, "truncate": 0.05, "no_usage": 0.05})


@pytest.mark.parametrize("route", ["live", "pack"])
@pytest.mark.parametrize(("faults", "runs"), [(Faults(), 3), (LOSING, 1)], ids=["calm", "faults"])
async def test_no_more_is_billed_than_may_be_spent(autojump_clock, output, route, faults, runs):
    """By what the provider counts: of all runs, and with what may be billed for nothing of one."""
    most = Decimal("0.002")
    async with stage(faults=faults, seed=3) as it:
        for _ in range(runs):
            with pytest.raises(BulkStopped, match="the next call might cost"):
                await it.run(rows(1000), output, max_cost=most, route=route)
            assert most * 8 / 10 < billed_usd(it) <= most


class Refusing(httpx.AsyncBaseTransport):
    """Nobody listens."""

    async def handle_async_request(self, request):
        await trio.lowlevel.checkpoint()
        raise httpx.ConnectError("refused", request=request)


async def test_an_outage_is_not_waited_for_once_the_run_is_to_end(autojump_clock, output):
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


async def test_who_fails_while_the_run_is_to_end_is_not_sent_again(autojump_clock, output):
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
            await it.run(rows(5000), output)
    assert caught.value.ending.kind == "unanswered"
    assert it.requests <= 200
    assert ids_of(output) == []


async def test_an_input_that_breaks_off_ends_the_run_with_what_was_read(autojump_clock, output):
    def broken():
        yield from rows(10)
        raise OSError("the disk is gone")

    async with stage() as it:
        with pytest.raises(BulkStopped, match="cannot be read: the disk is gone"):
            await it.run(broken(), output)
        await it.run(rows(12), output)
    assert ids_of(output) == ids(*range(1, 13))
    assert it.requests <= 22


async def test_an_empty_input_makes_an_empty_output(autojump_clock, output):
    async with stage() as it:
        assert await it.run([], output) == []
    assert output.read_bytes() == b""


async def test_rows_can_be_packed_into_few_calls(autojump_clock, output):
    more = {"system": INSTRUCTION, "max_tokens": 5, "temperature": 0}
    many = [row(at, f"Came in two days. I love it. (order {at})", **more) for at in range(1, 101)]
    async with stage() as it:
        await it.run(many, output, route="pack")
    assert ids_of(output) == ids(*range(1, 101))
    assert it.requests < 50
    assert "pack" in {line["callsheet"]["route"] for line in lines_of(output)}


async def test_rows_can_go_through_batches(autojump_clock, output):
    troupe = {"batches": BatchApiPolicy()}  # in memory: virtual time does not wait for a journal
    async with stage() as it:
        await it.run(rows(100), output, route="batch", window_rows=100, troupe=troupe)
    assert ids_of(output) == ids(*range(1, 101))
    assert {line["callsheet"]["route"] for line in lines_of(output)} == {"batch"}


async def test_answers_of_another_provider_are_not_taken_for_its_own(autojump_clock, output):
    elsewhere = {"endpoint": Endpoint("http://elsewhere/v1", None, "openai")}
    async with stage() as it:
        await it.run(rows(5), output)
        with pytest.raises(BulkRefused, match="are from http://provider/v1, and http://elsewhere"):
            await it.run(rows(5), output, troupe=elsewhere)
        await it.run(rows(5), output, troupe=elsewhere, other_provider=True)
    assert it.requests == 5


async def test_what_is_not_kept_is_removed_when_all_is_done(autojump_clock, output):
    async with stage() as it:
        await it.run(rows(5), output, keep=False)
        assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]
        with pytest.raises(BulkRefused, match="nobody knows whose answers"):
            await it.run(rows(5), output)
    assert ids_of(output) == ids(*range(1, 6))


async def test_a_foreign_file_is_left_alone(autojump_clock, output):
    output.write_text("My novel.\n")
    async with stage() as it:
        with pytest.raises(BulkRefused, match="nobody knows whose answers"):
            await it.run(rows(5), output)
    assert output.read_text() == "My novel.\n"


def answer():
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Yes."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


@pytest.mark.parametrize("settings", [{"max_cost": "0.0005"}, {"deadline_s": 6.0}])
async def test_what_is_told_as_lost_is_never_less_than_what_was(autojump_clock, output, settings):
    """Rows that the money or the time did not reach again count as well (L3)."""
    async with stage(faults=Faults.parse("lost=0.5")) as it:
        with pytest.raises(BulkStopped):
            async with it.open(rows(1000), output, **settings) as run:
                await run.wait()
        lost = it.requests - it.provider.stats.answered
        assert 10 < lost <= run.progress().maybe_billed <= lost + 100


async def test_rows_that_wait_for_another_attempt_are_not_in_flight(autojump_clock, output):
    async with stage(faults=Faults.parse("503=1")) as it, it.open(rows(300), output) as run:
        await trio.sleep(1.5)
        now = run.progress()
        assert now.in_flight <= 100
        assert now.resting > 10


@pytest.mark.parametrize("route", ["auto", "live", "pack"])
async def test_what_is_in_a_batch_is_not_asked_for_by_another_route(autojump_clock, output, route):
    async with stage() as it:
        async with it.open(rows(50), output, route="batch") as run:
            await trio.sleep(20)
            assert it.provider.stats.batches == 1
        with pytest.raises(BulkRefused, match=r"50 rows are in batches .*--route batch"):
            await it.run(rows(50), output, route=route)
        assert it.requests == 0
        await it.run(rows(50), output, route="batch")
        assert it.provider.stats.batch_lines == 50
        await it.run(rows(60), output, route=route)
    assert run.progress().answered == 0
    assert ids_of(output) == ids(*range(1, 61))
