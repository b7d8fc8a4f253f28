"""A run that several workers make the calls of has each row once in OUTPUT, in order."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
import trio
from bulk_rows import ids, ids_of, lines_of, row, rows
from shared_runs import dying_run, mortal_worker, reviews, shared_stage, workers

from callsheet.actors import (
    CallContext,
    Complete,
    UnsuitableServer,
    class_of_schema,
)
from callsheet.bulk import BulkRefused, BulkStopped
from callsheet.bulk.errors import OutputInUse
from callsheet.bulk.settings import Paths
from callsheet.bulk.shared.holder import RunHolder
from callsheet.bulk.shared.memory import MemoryQueue
from callsheet.bulk.shared.sharing import SharedRun, naming_how_to_join
from callsheet.bulk.shared.wire import decode_call


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My answers.jsonl", " memory (if several runs are open there, it is my-answers-...); or"),
        ("...", " memory; or give another OUTPUT"),
    ],
)
def test_the_error_that_another_process_writes_output_names_the_run(name, words):
    shared = SharedRun(place="memory", queue=lambda _: MemoryQueue())
    output = Path(name)
    with (
        pytest.raises(BulkRefused) as error,
        naming_how_to_join(shared, output),
    ):
        raise OutputInUse("it is in use", "wait")
    assert f"let this process work on it: callsheet work{words}" in str(error.value)


async def test_two_workers_answer_each_row_once(autojump_clock, output):
    async with shared_stage() as shared, workers(shared, 2):
        results = await shared.run(rows(30), output)
        assert [result.custom_id for result in results] == ids(*range(1, 31))
        assert ids_of(output) == ids(*range(1, 31))
        assert shared.stage.requests == 30
        card = await shared.queue.card()
        name = shared.told[0].rpartition(" ")[2]
        assert (card.state, card.answered, card.waiting) == ("ended", 0, 0)
    assert shared.told == [f"Other machines can work on it: callsheet work memory {name}"]


async def test_the_rows_of_a_worker_that_dies_go_to_another_and_may_be_paid_twice(
    autojump_clock, output
):
    async with shared_stage() as shared, trio.open_nursery() as nursery:
        mortal = await nursery.start(mortal_worker, shared, 3)
        async with shared.open(rows(10), output) as run:
            await trio.sleep(1)  # it has rows in hand
            mortal.cancel()
            async with workers(shared, 1):
                results = [result async for result in run]
            now = run.progress()
        assert len(results) == 10
        assert ids_of(output) == ids(*range(1, 11))
        again = sum(line["callsheet"]["maybe_billed"] for line in lines_of(output))
        assert 0 < again <= 4
        assert (now.shared.again, now.maybe_billed) == (again, again)
        assert sum(line["callsheet"]["attempts"] for line in lines_of(output)) == 10 + again
        nursery.cancel_scope.cancel()


async def test_the_next_holder_takes_over_what_is_answered_and_what_is_in_the_queue(
    autojump_clock, output
):
    sent = []
    async with shared_stage() as shared, workers(shared, 2, most=2, sent=sent):
        async with trio.open_nursery() as nursery:
            dead = await nursery.start(dying_run, shared, output, 40)
            await trio.sleep(3)
            shared.queue.away = True  # its last words are lost, as after a kill
            dead.cancel()
        await trio.sleep(30)  # the workers go on
        assert not list((await shared.queue.another().card()).holder)
        shared.queue.away = False
        results = await shared.run(rows(40), output)
        assert len(results) == 40
        assert ids_of(output) == ids(*range(1, 41))
        assert len(sent) == 40  # nothing was paid for twice
        assert sum(line["callsheet"]["maybe_billed"] for line in lines_of(output)) == 0


async def test_responses_to_rows_that_input_has_no_more_are_told(autojump_clock, output):
    async with shared_stage() as shared, workers(shared, 2, most=2):
        async with trio.open_nursery() as nursery:
            dead = await nursery.start(dying_run, shared, output, 8)
            await trio.sleep(1)
            shared.queue.away = True
            dead.cancel()
        await trio.sleep(30)
        shared.queue.away = False
        assert len(await shared.run(rows(6), output)) == 6
        assert shared.stage.requests == 8
    assert shared.told[-1].startswith(
        "2 responses on the server, which an earlier run has paid for"
    )


async def test_a_second_holder_is_refused_while_the_first_one_lives(autojump_clock, output):
    async with shared_stage() as shared:
        queue = shared.queue.another()
        with pytest.raises(BulkRefused):  # learns the name, and is the holder no more
            async with shared.open(rows(1), output, max_cost=Decimal(0)):
                pass
        await queue.hold("machine-2:77", b"", lease_s=3600)
        began = trio.current_time()
        with pytest.raises(BulkRefused, match=r"machine-2:77 writes OUTPUT .* callsheet work"):
            await shared.run(rows(3), output)
        assert trio.current_time() - began == pytest.approx(13, abs=1)
    assert shared.told == ["Waiting up to 13 s, in case machine-2:77 has ended."]


async def test_a_queue_that_lost_its_rows_gets_them_again(autojump_clock, output):
    async with shared_stage() as shared, shared.open(rows(20), output) as run:
        await trio.sleep(1)
        shared.queue.lose_data()
        async with workers(shared, 2):
            await trio.sleep(4)
            shared.queue.lose_data()
            results = [result async for result in run]
        assert len(results) == 20
    assert ids_of(output) == ids(*range(1, 21))


async def test_the_run_goes_on_when_the_server_is_back(autojump_clock, output, log):
    async with shared_stage() as shared, workers(shared, 2), shared.open(rows(60), output) as run:
        await trio.sleep(2)
        shared.queue.away = True
        await trio.sleep(20)
        assert run.progress().shared.is_away
        shared.queue.away = False
        await run.wait()
    assert ids_of(output) == ids(*range(1, 61))
    assert [entry["event"] for entry in log if entry["event"].startswith("shared_run")] == [
        "shared_run_unavailable",
        "shared_run_back",
    ]


async def test_a_drained_run_waits_for_what_workers_have_and_takes_the_rest_back(
    autojump_clock, output
):
    sent = []
    async with shared_stage() as shared, workers(shared, 2, most=2, sent=sent):
        with pytest.raises(BulkStopped) as caught:
            async with shared.open(rows(50), output) as run:
                await trio.sleep(4)
                assert run.drain() == 4
                await run.wait()
        assert caught.value.ending.kind == "drained"
        first = len(sent)
        assert 4 <= len(lines_of(output)) == first < 50
        assert (await shared.queue.card()).state == "ended"
        await trio.sleep(60)
        assert len(sent) == first  # no worker goes on
        results = await shared.run(rows(50), output)
        assert len(results) == len(sent) == 50
    assert ids_of(output) == ids(*range(1, 51))


async def test_workers_take_no_rows_while_the_run_is_paused(autojump_clock, output):
    sent = []
    async with (
        shared_stage() as shared,
        workers(shared, 2, most=2, sent=sent),
        shared.open(rows(30), output) as run,
    ):
        await trio.sleep(3)
        run.pause()
        await trio.sleep(10)
        paused = len(sent)
        await trio.sleep(100)
        assert len(sent) == paused < 30
        run.resume()
        await run.wait()
    assert len(sent) == 30


async def test_what_is_in_hand_when_a_run_ends_at_once_is_there_for_the_next_one(
    autojump_clock, output
):
    sent = []
    async with shared_stage() as shared, workers(shared, 2, most=2, sent=sent):
        with pytest.raises(KeyError):
            async with shared.open(rows(30), output):
                await trio.sleep(4)
                raise KeyError
        await trio.sleep(60)
        first = len(sent)
        assert first < 30  # what no worker had was taken back
        assert len(await shared.run(rows(30), output)) == 30
        assert len(sent) == 30
    assert sum(line["callsheet"]["maybe_billed"] for line in lines_of(output)) == 0


def test_a_row_has_one_idempotency_key_however_often_it_comes_back():
    holder = RunHolder(MemoryQueue(), "h", b"")
    found = []
    for key in ("abc", "abc.1", "abc.2", "other"):
        holder.name_call("call", key)
        made, _ = holder.row_of(Complete(row(1).request, CallContext("call", lane="run")))
        assert made.key == key
        found.append(decode_call(made.body)[0].idempotency_key)
    assert found[0] == found[1] == found[2] != found[3]


async def test_the_deadline_holds_for_the_run(autojump_clock, output):
    async with shared_stage() as shared, workers(shared, 1, most=1):
        began = trio.current_time()
        with pytest.raises(BulkStopped) as caught:
            async with shared.open(rows(50), output, deadline_s=20) as run:
                await run.wait()
        assert caught.value.ending.kind == "late"
        assert trio.current_time() - began == pytest.approx(20, abs=1)


async def test_rows_whose_responses_were_cut_off_are_asked_once_more(autojump_clock, output):
    sent = []
    short = [row(number, max_tokens=2) for number in (1, 2)]
    async with shared_stage() as shared, workers(shared, 1, sent=sent):
        await shared.run(short, output, retry_on=["length"])
        assert len(sent) == 4
        await shared.run(short, output, retry_on=["length"])
        assert len(sent) == 6
    assert [line["callsheet"]["attempts"] for line in lines_of(output)] == [3, 3]


async def test_results_of_a_class_are_read_by_the_holder(autojump_clock, output):
    label = class_of_schema({"type": "object", "properties": {"label": {"type": "string"}}})
    typed = [row(number, returns=label, max_tokens=100) for number in (1, 2, 3)]
    async with shared_stage() as shared, workers(shared, 2):
        results = await shared.run(typed, output)
    texts = [json.loads(result.response.text) for result in results]
    assert all(isinstance(text["label"], str) for text in texts)


async def test_rows_that_failed_are_sent_again_by_the_next_run(autojump_clock, output):
    bad = [row(number, "tea " * 200_000) for number in (1, 2)]  # more than the model's context
    sent = []
    async with shared_stage() as shared, workers(shared, 1, sent=sent):
        for count in (2, 4):
            results = await shared.run(bad, output)
            assert [result.error for result in results] == ["BadRequest", "BadRequest"]
            assert len(sent) == count
    assert len(lines_of(Paths(output).errors)) == 2


async def test_batches_are_refused(output):
    async with shared_stage() as shared:
        with pytest.raises(BulkRefused, match="no Batch API; leave out --shared"):
            await shared.run(rows(1), output, route="batch")


async def test_packs_are_made_by_the_workers(autojump_clock, output):
    sent = []
    async with shared_stage() as shared, workers(shared, 1, most=20, sent=sent):
        await shared.run(reviews(20), output, route="pack")
    assert len(sent) == 20
    assert shared.stage.requests < 20


async def test_identical_rows_share_a_call_of_one_worker(autojump_clock, output):
    same = [row(number, "Say it.", cacheable=True) for number in range(1, 6)]
    async with shared_stage() as shared, workers(shared, 2):
        assert len(await shared.run(same, output)) == 5
    assert shared.stage.requests == 1


async def test_the_process_that_writes_output_is_a_worker_itself(autojump_clock, output):
    async with shared_stage() as shared:
        shared.works = True
        assert len(await shared.run(rows(30), output)) == 30
        assert shared.stage.requests == 30
    assert ids_of(output) == ids(*range(1, 31))


async def test_a_server_that_may_lose_rows_is_refused_before_anything_is_sent(output, monkeypatch):
    async def check(queue):
        raise UnsuitableServer(queue.name, "appendonly is no", "set appendonly yes")

    monkeypatch.setattr(MemoryQueue, "check", check)
    async with shared_stage() as shared:
        shared.works = True
        with pytest.raises(BulkRefused, match="appendonly is no; set appendonly yes"):
            await shared.run(rows(3), output)
        assert shared.stage.requests == 0
    assert not output.exists()


async def test_a_server_that_is_away_is_named(autojump_clock, output):
    async with shared_stage() as shared:
        shared.queue.away = True
        with pytest.raises(BulkRefused, match="in memory cannot be used: it was taken away"):
            await shared.run(rows(3), output)


async def test_a_holder_that_was_taken_over_ends_its_run(autojump_clock, output):
    async with shared_stage() as shared, workers(shared, 1, most=1):
        with pytest.raises(BulkStopped) as caught:
            async with shared.open(rows(50), output) as run:
                await trio.sleep(3)
                shared.queue.away = True
                await trio.sleep(15)
                other = await shared.queue.another().hold("machine-2:7", b"", lease_s=600)
                assert other.is_held
                shared.queue.away = False
                await run.wait()
        ending = caught.value.ending
        assert ending.kind == "server"
        assert "machine-2:7 has taken the run over" in ending.reason
        assert run.progress().maybe_billed == 0
