"""Workers of a shared run, on the virtual clock, with a holder that puts rows and reads answers."""

import math
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from bulk_rows import MODEL, URL, on_the_spot
from structlog.testing import capture_logs

from callsheet.actors import (
    CallContext,
    ChatMessage,
    Endpoint,
    Limits,
    Request,
    Response,
    StageObserver,
    TroupeSettings,
    class_of_schema,
)
from callsheet.bulk.shared.hand import JournaledAnswer
from callsheet.bulk.shared.journal import WorkerJournal
from callsheet.bulk.shared.memory import MemoryQueue
from callsheet.bulk.shared.queue import QueuedRow
from callsheet.bulk.shared.reports import WorkerReport
from callsheet.bulk.shared.wire import decode_end, encode_call
from callsheet.bulk.shared.worker_actor import spawn_worker
from callsheet.bulk.shared.worker_end import WorkerPolicy
from callsheet.runtime import open_runtime
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings


class Holder:
    """Puts rows, and stores answers."""

    def __init__(self, queue):
        self.queue = queue
        self.ends = {}  # {key: the ends of the row}
        self.deliveries = {}
        self.stores = True
        self.epoch = ""
        self.rows = []
        self.read = trio.Event()
        self.is_over = False
        self.ended = trio.Event()

    async def put(self, count, first=1, *, returns=None):
        self.rows += [
            QueuedRow(
                f"k{number}",
                encode_call(
                    Request.of(f"Say {number}.", model=MODEL, max_tokens=20, returns=returns),
                    CallContext(f"r-{number}", lane="run"),
                ),
            )
            for number in range(first, first + count)
        ]
        await self.hold()
        await self.queue.put("h", [row for row in self.rows if row.key not in self.ends])

    async def hold(self):
        reply = await self.queue.hold("h", b"", lease_s=10)
        is_new, self.epoch = self.epoch not in ("", reply.epoch), reply.epoch
        return is_new

    async def run(self):
        after = ""
        while not self.is_over:
            if await self.hold():
                after = ""
                await self.queue.put("h", [row for row in self.rows if row.key not in self.ends])
            for answer in await self.queue.answers(after, 100, wait_s=1):
                after = answer.entry
                self.ends.setdefault(answer.key, []).append(answer)
                self.read.set()
                self.read = trio.Event()
                if self.stores:
                    await self.queue.stored("h", [answer.entry])
        assert await self.queue.end("h", forget=True)
        self.ended.set()

    async def end(self):
        self.is_over = True
        await self.ended.wait()

    async def wait_for(self, count):
        while len(self.ends) < count:
            await self.read.wait()

    def outcomes(self):
        return {key: decode_end(ends[0].body).outcome for key, ends in self.ends.items()}


class Theatre:
    """A queue, a holder, a provider, and workers with a folder of journals."""

    def __init__(self, transport, provider, folder, nursery):
        self.queue = MemoryQueue("r")
        self.holder = Holder(self.queue.another())
        self.provider = provider
        self.transport = transport
        self.folder = folder
        self.nursery = nursery

    @property
    def requests(self):
        return self.provider.stats.requests

    @asynccontextmanager
    async def worker(
        self, name, *, queue=None, limits=None, has_journal=True, observer=(), **policy
    ):
        journal = WorkerJournal(self.folder, "r") if has_journal else None
        settings = TroupeSettings(
            endpoint=Endpoint(URL, None, "openai"),
            transport=self.transport,
            limits=limits or Limits(in_flight=20),
            observer=observer,
        )
        worker = None
        try:
            async with open_runtime(name, seed=name) as runtime:
                worker = await spawn_worker(
                    runtime,
                    queue or self.queue.another(),
                    settings,
                    name=name,
                    policy=WorkerPolicy(**policy),
                    journal=journal,
                    in_thread=on_the_spot,
                )
                yield worker
        finally:
            if worker is not None:
                worker.close_journal()

    async def work(self, name, task_status=trio.TASK_STATUS_IGNORED, **more):
        """Run a worker that dies with its cancel scope, as by kill -9."""
        with trio.CancelScope() as scope:
            async with self.worker(name, **more) as worker:
                worker.kill = scope.cancel
                task_status.started(worker)
                await worker.wait_over()


@pytest.fixture
async def theatre(tmp_path):
    provider = Provider(ProviderSettings())
    async with ProviderTransport(provider) as transport, trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 1000
        theatre = Theatre(transport, provider, tmp_path, nursery)
        nursery.start_soon(theatre.holder.run)
        yield theatre
        assert trio.current_time() < nursery.cancel_scope.deadline
        nursery.cancel_scope.cancel()


def killed(worker):
    """End a worker as kill -9 does: nothing is given back, and nothing more is written."""
    worker._queue.away = True
    worker._journal = None
    worker.kill()


async def test_a_worker_answers_every_row_once_and_leaves_nothing(autojump_clock, theatre):
    await theatre.holder.put(30)
    async with theatre.worker("w") as worker:
        await theatre.holder.wait_for(30)
        await theatre.holder.end()
        end = await worker.wait_over()
    assert end.kind == "ended"
    assert theatre.requests == 30
    assert all(isinstance(one, Response) for one in theatre.holder.outcomes().values())
    assert all(len(ends) == 1 for ends in theatre.holder.ends.values())
    assert (worker.report.answered, worker.report.failed) == (30, 0)
    assert worker.report.tokens > 50
    assert [path.name for path in theatre.folder.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    "returns",
    [None, class_of_schema({"type": "object", "properties": {"label": {"type": "string"}}})],
    ids=["text", "class"],
)
async def test_observers_of_a_worker_learn_what_each_row_costs(autojump_clock, theatre, returns):
    ends = []
    observer = StageObserver(ends.append, frozenset({"answered"}))
    await theatre.holder.put(3, returns=returns)
    async with theatre.worker("w", observer=observer):
        await theatre.holder.wait_for(3)
    assert sorted(event.context.call for event in ends) == ["r-1", "r-2", "r-3"]
    assert all(event.usage.output_tokens for event in ends)


async def test_two_workers_share_the_rows_and_report(autojump_clock, theatre):
    await theatre.holder.put(70)
    async with theatre.worker("a") as a, theatre.worker("b") as b:
        await trio.sleep(4)
        card = await theatre.queue.card()
        reports = {name: WorkerReport.decode(text) for name, text in card.workers.items()}
        assert sorted(reports) == ["a", "b"]
        assert all(report.in_hand <= 30 for report in reports.values())
        assert all(report.sent > 3 for report in reports.values())
        await theatre.holder.wait_for(70)
        await theatre.holder.end()
        await a.wait_over()
        await b.wait_over()
    assert min(a.report.answered, b.report.answered) > 15
    assert theatre.requests == 70


async def test_few_rows_are_taken_ahead_of_the_limits(autojump_clock, theatre):
    await theatre.holder.put(70)
    limits = Limits(rpm=60, in_flight=100, burst_s=1)
    async with theatre.worker("w", limits=limits):
        await trio.sleep(20)
        card = await theatre.queue.card()
        assert card.taken <= 16
        assert 15 <= theatre.requests <= 25


async def test_max_concurrency_is_the_most_calls_of_a_worker(autojump_clock, theatre):
    await theatre.holder.put(40)
    async with theatre.worker("w", max_concurrency=3) as worker:
        for _ in range(50):
            await trio.sleep(0.2)
            assert len(worker._calls) <= 3
        assert worker.report.answered > 5


async def test_the_rows_of_a_killed_worker_are_called_by_another_after_its_lease(
    autojump_clock, theatre
):
    await theatre.holder.put(40)
    doomed = await theatre.nursery.start(partial(theatre.work, "a"))
    await trio.sleep(1)
    in_hand = len(doomed._hand.rows)
    killed(doomed)
    assert in_hand >= 20
    began = trio.current_time()
    async with theatre.worker("b"):
        await theatre.holder.wait_for(40)
    assert 8 <= trio.current_time() - began <= 20
    again = [ends[0] for ends in theatre.holder.ends.values() if ends[0].deliveries > 1]
    assert len(again) == in_hand
    assert theatre.requests <= 40 + in_hand


async def test_what_a_killed_worker_had_kept_is_handed_in_without_a_call(autojump_clock, theatre):
    await theatre.holder.put(20)
    queue = theatre.queue.another()
    doomed = await theatre.nursery.start(partial(theatre.work, "a", queue=queue))
    await trio.sleep(0.5)
    queue.away = True  # the answers are in its journal only
    await trio.sleep(8)
    assert not doomed._hand.rows
    doomed._journal.close(remove=False)
    killed(doomed)
    assert theatre.requests == 20
    assert theatre.holder.ends == {}
    async with theatre.worker("b") as worker:
        await theatre.holder.wait_for(20)
        await theatre.holder.end()
        await worker.wait_over()
    assert theatre.requests == 20
    assert [path.name for path in theatre.folder.iterdir()] == ["lock"]


async def test_a_worker_goes_on_while_the_server_is_away_and_hands_in_later(
    autojump_clock, theatre
):
    await theatre.holder.put(20)
    queue = theatre.queue.another()
    async with theatre.worker("w", queue=queue) as worker:
        await trio.sleep(0.5)
        queue.away = True
        await trio.sleep(8)
        assert worker.is_away
        assert worker.report.answered == 20
        assert theatre.holder.ends == {}
        queue.away = False
        await theatre.holder.wait_for(20)
    assert theatre.requests == 20
    assert all(len(ends) == 1 for ends in theatre.holder.ends.values())


async def test_a_worker_that_was_stopped_finds_its_rows_with_others(autojump_clock, theatre):
    await theatre.holder.put(20)
    queue = theatre.queue.another()
    async with theatre.worker("a", queue=queue, max_concurrency=5):
        await trio.sleep(0.2)
        queue.away = True  # as SIGSTOP, but that its calls go on
        async with theatre.worker("b"):
            await theatre.holder.wait_for(20)
        queue.away = False
        await trio.sleep(10)
    card = await theatre.queue.card()
    assert all(len(ends) == 1 for ends in theatre.holder.ends.values())
    assert card.answered_twice <= 13
    assert theatre.requests == 20 + card.answered_twice


async def test_lost_replies_lose_no_row(autojump_clock, theatre):
    await theatre.holder.put(40)
    queue = theatre.queue.another()
    async with theatre.worker("w", queue=queue):
        for _ in range(20):
            await trio.sleep(0.3)
            queue.loses_replies = not queue.loses_replies
        queue.loses_replies = False
        await theatre.holder.wait_for(40)
    assert theatre.requests == 40


async def test_after_a_loss_of_data_nothing_that_was_answered_is_called_again(
    autojump_clock, theatre
):
    theatre.holder.stores = False
    await theatre.holder.put(40)
    async with theatre.worker("w", max_concurrency=10) as worker:
        await trio.sleep(5)
        had = len(theatre.holder.ends)
        assert had > 10
        theatre.holder.ends.clear()  # they were not on its disk
        theatre.queue.lose_data()
        await theatre.holder.wait_for(40)
        assert worker.unstored == 40
        assert theatre.requests == 40


async def test_paused_runs_send_nothing_new_and_go_on(autojump_clock, theatre):
    await theatre.holder.put(40)
    async with theatre.worker("w", max_concurrency=5):
        await trio.sleep(1)
        await theatre.queue.change_state("h", "paused")
        await trio.sleep(6)
        before = theatre.requests
        card = await theatre.queue.card()
        assert (card.taken, card.state) == (0, "paused")
        await trio.sleep(20)
        assert theatre.requests == before
        await theatre.queue.change_state("h", "running")
        await theatre.holder.wait_for(40)
    assert theatre.requests == 40
    assert all(ends[0].deliveries == 1 for ends in theatre.holder.ends.values())


async def test_a_drained_run_ends_workers_after_their_calls(autojump_clock, theatre):
    await theatre.holder.put(40)
    async with theatre.worker("w") as worker:
        await trio.sleep(1)
        await theatre.queue.change_state("h", "draining")
        end = await worker.wait_over()
    assert (end.kind, end.text) == ("stopped", "the run was stopped before its end")
    card = await theatre.queue.card()
    assert card.taken == 0
    assert card.waiting + len(theatre.holder.ends) == 40
    assert len(theatre.holder.ends) == theatre.requests


async def test_a_run_that_drains_before_its_end_has_ended_for_workers(autojump_clock, theatre):
    await theatre.holder.put(5)
    async with theatre.worker("w") as worker:
        await theatre.holder.wait_for(5)
        await theatre.queue.change_state("h", "draining")
        await trio.sleep(2)
        await theatre.holder.end()
        end = await worker.wait_over()
    assert (end.kind, end.text) == ("ended", "the run has ended")


async def test_a_drained_worker_gives_back_what_it_has_not_sent(autojump_clock, theatre):
    await theatre.holder.put(40)
    async with theatre.worker("w", max_concurrency=10) as worker:
        await trio.sleep(0.2)
        worker.drain()
        assert (await worker.wait_over()).kind == "drained"
    card = await theatre.queue.card()
    assert (card.taken, list(card.workers)) == (0, [])
    assert len(theatre.holder.ends) == theatre.requests == 10
    async with theatre.worker("b"):
        await theatre.holder.wait_for(40)
    assert all(ends[0].deliveries == 1 for ends in theatre.holder.ends.values())


async def test_a_stopped_worker_gives_its_rows_to_others_at_once(autojump_clock, theatre):
    await theatre.holder.put(20)
    async with theatre.worker("w", max_concurrency=10) as worker:
        await trio.sleep(0.2)
        worker.stop()
        await worker.wait_over()
    began = trio.current_time()
    async with theatre.worker("b"):
        await theatre.holder.wait_for(20)
    assert trio.current_time() - began < 8
    assert sum(ends[0].deliveries > 1 for ends in theatre.holder.ends.values()) == 10


@pytest.mark.parametrize("waits", [False, True])
async def test_a_run_without_a_holder_ends_unless_the_worker_waits(autojump_clock, tmp_path, waits):
    provider = Provider(ProviderSettings())
    async with ProviderTransport(provider) as transport, trio.open_nursery() as nursery:
        theatre = Theatre(transport, provider, tmp_path, nursery)
        async with theatre.worker("w", waits=waits) as worker:
            with trio.move_on_after(90) as scope:
                end = await worker.wait_over()
                assert (end.kind, end.text) == ("alone", "the run is not there any more")
            assert scope.cancelled_caught == waits


async def test_errors_are_answers_and_a_row_that_is_put_again_is_called_again(
    autojump_clock, theatre
):
    theatre.holder.stores = True
    await theatre.holder.put(1)
    request = Request(
        model=MODEL,
        messages=[ChatMessage("user", "x")],
        extra_headers={"x-callsheet-fault": "quota"},
    )
    bad = QueuedRow("bad", encode_call(request, CallContext("r-0")))
    await theatre.queue.put("h", [bad])
    async with theatre.worker("w") as worker:
        await theatre.holder.wait_for(2)
        outcome = theatre.holder.outcomes()["bad"]
        assert not isinstance(outcome, Response)
        await trio.sleep(5)
        before = theatre.requests
        theatre.holder.ends.clear()
        await theatre.queue.put("h", [bad])
        await theatre.holder.wait_for(1)
        assert theatre.requests > before
        assert worker.report.failed == 2


async def test_a_row_of_another_version_goes_back_and_ends_the_worker(autojump_clock, theatre):
    await theatre.holder.hold()
    await theatre.queue.put("h", [QueuedRow("k", b"\x63\x00\x00\x00\x00")])
    async with theatre.worker("w") as worker:
        end = await worker.wait_over()
    assert end.kind == "drained"
    assert "use the same version of Callsheet on all machines" in end.text
    card = await theatre.queue.card()
    assert (card.waiting, card.taken) == (1, 0)


async def test_a_journal_that_cannot_be_written_stops_the_worker_and_loses_nothing(
    autojump_clock, theatre
):
    await theatre.holder.put(40)
    async with theatre.worker("w", max_concurrency=5) as worker:
        await trio.sleep(3)
        worker._journal._db.execute("PRAGMA query_only = ON")
        end = await worker.wait_over()
        worker._journal._db.execute("PRAGMA query_only = OFF")
    assert end.kind == "failed"
    assert "the journal of a shared run" in end.text
    assert len(theatre.holder.ends) == theatre.requests
    assert math.isclose((await theatre.queue.card()).taken, 0)


def test_journals_of_other_runs_are_removed_when_they_are_empty_or_old(tmp_path):
    answer = JournaledAnswer("k", "1", b"paid", is_response=True)
    left = {}
    for run, answers in (("new", [answer]), ("empty", []), ("held", [])):
        journal = left[run] = WorkerJournal(tmp_path, run)
        journal.keep(answers, ())
        if run != "held":
            journal.close(remove=False)
    made = left["new"].path.stat().st_mtime

    def journals_after(days):
        wall_clock = partial(float, made + 86_400 * days + 60)
        with capture_logs() as logs:
            WorkerJournal(tmp_path, "mine", wall_clock=wall_clock).close(remove=True)
        found = {run for run, journal in left.items() if journal.path.exists()}
        return found, [(log["event"], log["answers"]) for log in logs]

    assert journals_after(0) == ({"new", "empty", "held"}, [])
    assert journals_after(1) == ({"new", "held"}, [])
    assert journals_after(29) == ({"new", "held"}, [])
    assert journals_after(30) == ({"held"}, [("old_journal_removed", 1)])
    left["held"].close(remove=True)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
