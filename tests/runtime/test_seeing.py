"""R12: the tree as text, as values and as events, and the report of a crash."""

import io
from functools import partial

import attrs
import pytest
import structlog
import trio
from sample_actors import Add, Counter, Declared, Fail, Holder, Keep, Pass, Relay, Work, Worker

from callsheet.runtime import (
    Actor,
    ActorCrash,
    ActorCrashed,
    ActorEvent,
    ActorStopped,
    Dropped,
    Instrument,
    Message,
    MessageBegun,
    MessageDone,
    MessageSent,
    RestartPolicy,
    StructlogInstrument,
    Verdict,
    dump,
    format_tree,
    handles,
    open_runtime,
)

NO_PAUSE = RestartPolicy(base_s=0)
NO_RESTARTS = RestartPolicy(max_restarts=0)
SLOW = RestartPolicy(base_s=100, cap_s=100)


@attrs.frozen
class Delegate(Message[int]):
    error: Exception


class Boss(Actor):
    """Asks another actor, and crashes if that crashes."""

    def __init__(self, to) -> None:
        self.to = to

    @handles(Delegate)
    async def delegate(self, message: Delegate) -> int:
        return await self.to.ask(Fail(message.error))


class Recorder(Instrument):
    """Keeps every event with the name of its hook, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, object]] = []

    def __getattribute__(self, name: str):
        if name in HOOKS:
            return lambda event: self.seen.append((name, event))
        return super().__getattribute__(name)

    def take(self) -> list[tuple[str, object]]:
        seen, self.seen = self.seen, []
        return seen


HOOKS = [name for name in vars(Instrument) if not name.startswith("_")]


# ---------------------------------------------------------------- as text


async def test_the_text_shows_a_tree_in_several_states_a_line_each(autojump_clock):
    async with open_runtime("app", restarts=SLOW, seed="s", drain_s=0) as runtime:
        await runtime.spawn("idle", Counter)
        branch = await runtime.supervise("branch", strategy="one_for_all")
        busy = await branch.spawn("busy", partial(Worker, []), concurrency=5, capacity=2)
        twig = await branch.supervise("twig", strategy="rest_for_one", restarts=NO_RESTARTS)
        holder = await twig.spawn("holder", Holder)
        crashed = await runtime.spawn("crashed", Counter)
        await runtime.spawn("stopped", Counter)
        await runtime.root.stop_child("stopped")
        await holder.submit(Keep())
        for number in range(5):
            busy.tell_nowait(Work(str(number), 60))
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(2)
        for number in range(2):
            busy.tell_nowait(Work(str(number), 60))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy.tell, Work("more", 60))
            await trio.sleep(1.5)
            crashed.tell_nowait(Fail(KeyError("bug")))
            await trio.testing.wait_all_tasks_blocked()
            crashed.tell_nowait(Add(1))
            text = format_tree(runtime.snapshot())
            nursery.cancel_scope.cancel()
        in_progress = ", ".join(["Work for 3.5 s"] * 3)
        assert text.splitlines() == [
            "app  running, one_for_one, 4 restarts left",
            "├── idle  running, idle",
            "├── branch  running, one_for_all, 5 restarts left",
            (
                f"│   ├── busy  running, handling {in_progress} and 2 more, "
                "2 of 2 waiting for up to 1.5 s, 1 senders waiting for room"
            ),
            "│   └── twig  running, rest_for_one, 0 restarts left",
            "│       └── holder  running, idle, 1 deferred, 1 handled",
            "├── crashed  restarting, idle, 1 of 64 waiting for up to 0.0 s, 1 failed",
            "└── stopped  stopped, idle",
        ]


async def test_dump_prints_one_runtime_or_all_that_are_open(autojump_clock):
    everything, one = io.StringIO(), io.StringIO()
    async with open_runtime("outer"), open_runtime("inner") as inner:
        await inner.spawn("counter", Counter)
        dump(file=everything)
        dump(inner, file=one)
    outer_text = "outer  running, one_for_one, 5 restarts left\n"
    inner_text = "inner  running, one_for_one, 5 restarts left\n└── counter  running, idle\n"
    assert everything.getvalue() == outer_text + inner_text
    assert one.getvalue() == inner_text
    nothing = io.StringIO()
    dump(file=nothing)
    assert nothing.getvalue() == ""


# ---------------------------------------------------------------- as values


async def test_iterating_over_a_snapshot_gives_each_node_before_those_below_it(autojump_clock):
    async with open_runtime("app") as runtime:
        await runtime.spawn("a", Counter)
        b = await runtime.supervise("b")
        await b.spawn("c", Counter)
        d = await b.supervise("d")
        await d.spawn("e", Counter)
        await runtime.spawn("f", Counter)
        snapshot = runtime.snapshot()
    paths = ["app", "app/a", "app/b", "app/b/c", "app/b/d", "app/b/d/e", "app/f"]
    assert [node.path for node in snapshot] == paths
    assert [node.path for node in snapshot.actors] == ["app/a", "app/b/c", "app/b/d/e", "app/f"]
    assert snapshot["app/b/d/e"].path == "app/b/d/e"
    for missing in ("app/b", "app/x"):
        with pytest.raises(KeyError):
            snapshot[missing]


async def test_a_snapshot_stays_as_it_was(autojump_clock):
    async with open_runtime("app") as runtime:
        counter = await runtime.spawn("counter", Counter)
        snapshot = runtime.snapshot()
        await counter.ask(Add(1))
        assert snapshot[counter.path].counts.handled == 0
        assert runtime.snapshot()[counter.path].counts.handled == 1


# ---------------------------------------------------------------- as events


async def test_a_snapshot_has_the_last_crashes_of_actors_and_pools(autojump_clock):
    async with open_runtime("app", restarts=RestartPolicy(max_restarts=100, base_s=0)) as runtime:
        single = await runtime.spawn("single", Counter)
        pool = await runtime.spawn_pool("pool", Counter, size=1)
        single.tell_nowait(Fail(KeyError("one")))
        await trio.sleep(1)
        began = trio.current_time()
        pool.tell_nowait(Fail(ValueError("x" * 5_000)))
        await trio.sleep(1)
        first, second = runtime.snapshot().crashes
        assert (first.path, first.kind, first.text) == ("app/single", "KeyError", "'one'")
        assert (second.path, second.kind) == ("app/pool/worker-1", "ValueError")
        assert second.text == "x" * 1_000
        assert (first.at, second.at) == pytest.approx((began - 1, began))
        for number in range(60):
            single.tell_nowait(Fail(KeyError(number)))
        await trio.sleep(1)
        assert [one.text for one in runtime.snapshot().crashes] == [str(n) for n in range(10, 60)]


async def test_an_exception_whose_message_cannot_be_written_is_a_crash_like_others(autojump_clock):
    class Mute(Exception):
        def __str__(self):
            raise ValueError("a bug")

    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        counter = await runtime.spawn("counter", Counter)
        with pytest.raises(ActorCrashed, match="crashed with Mute: its message cannot be written"):
            await counter.ask(Fail(Mute()))
        assert await counter.ask(Add(1)) == 1
        (crash,) = runtime.snapshot().crashes
        assert (crash.kind, crash.text) == ("Mute", "its message cannot be written")


async def test_every_hook_is_called_with_its_frozen_event_in_order(autojump_clock):
    recorder = Recorder()
    async with open_runtime("app", restarts=NO_PAUSE, instruments=[recorder]) as runtime:
        recorder.take()
        worker = await runtime.spawn("worker", partial(Worker, []), capacity=1, overflow="reject")
        assert recorder.take() == [
            ("actor_spawned", ActorEvent("app/worker", 0)),
            ("actor_started", ActorEvent("app/worker", 1)),
        ]
        await worker.ask(Work("a", 2))
        assert recorder.take() == [
            ("message_sent", MessageSent("app/worker", "Work", None, ())),
            ("message_begun", MessageBegun("app/worker", "Work", None, 0, 1)),
            ("message_done", MessageDone("app/worker", "Work", None, "replied", None, 0, 2)),
        ]
        await trio.sleep(1)
        bug = KeyError("bug")
        with pytest.raises(ActorCrashed):
            await worker.ask(Fail(bug))
        await trio.sleep(1)
        failed, crashed, started = recorder.take()[2:]
        done = MessageDone("app/worker", "Fail", None, "crashed", bug, 0, 0)
        assert failed == ("message_done", done)
        assert crashed[0] == "actor_crashed"
        crash = crashed[1]
        assert isinstance(crash, ActorCrash)
        assert (crash.actor, crash.incarnation, crash.uptime_s) == ("app/worker", 1, 3)
        assert (crash.error, crash.decision, crash.restart_in_s) == (bug, "restart", 0)
        assert [(lost.chain, lost.verdict) for lost in crash.lost] == [
            (("Fail at app/worker",), Verdict.MAY_HAVE_RUN)
        ]
        assert started == ("actor_started", ActorEvent("app/worker", 2))
        worker.tell_nowait(Work("b", 5))
        await trio.testing.wait_all_tasks_blocked()
        worker.tell_nowait(Work("c", 5))
        runtime.root._node.children.by_name["worker"].node.stop_s = 0
        await runtime.stop(worker)
        kinds = [name for name, _ in recorder.seen]
        assert kinds[-3:] == ["message_done", "message_done", "actor_stopped"]
        assert [event.outcome for _, event in recorder.seen[-3:-1]] == ["stopped", "stopped"]
        assert recorder.seen[-1][1] == ActorEvent("app/worker", 2)
        for _, event in recorder.take():
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                event.actor = "else"
    assert recorder.take() == [("actor_stopped", ActorEvent("app", 1))]


async def test_supervisors_are_reported_like_actors(autojump_clock):
    recorder = Recorder()
    async with open_runtime("app", restarts=NO_PAUSE, instruments=[recorder]) as runtime:
        branch = await runtime.supervise("branch", restarts=NO_RESTARTS)
        counter = await branch.spawn("counter", Counter)
        recorder.take()
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        told = [(name, event.actor) for name, event in recorder.take()]
        assert told == [
            ("message_sent", "app/branch/counter"),
            ("message_begun", "app/branch/counter"),
            ("message_done", "app/branch/counter"),
            ("actor_crashed", "app/branch/counter"),
            ("actor_crashed", "app/branch"),
            ("actor_started", "app/branch/counter"),
            ("actor_started", "app/branch"),
        ]
        await runtime.root.stop_child("branch")
        told = [(name, event.actor) for name, event in recorder.take()]
        assert told == [
            ("actor_stopped", "app/branch/counter"),
            ("actor_stopped", "app/branch"),
        ]


async def test_a_declared_error_is_reported_as_a_failure_not_a_crash(autojump_clock):
    recorder = Recorder()
    async with open_runtime("app", instruments=[recorder]) as runtime:
        counter = await runtime.spawn("counter", Counter)
        recorder.take()
        error = Declared()
        with pytest.raises(Declared):
            await counter.ask(Fail(error))
        seen = recorder.take()
    done = MessageDone("app/counter", "Fail", None, "declared error", error, 0, 0)
    assert seen[2] == ("message_done", done)
    assert "actor_crashed" not in [name for name, _ in seen]


async def test_a_message_that_is_dropped_is_a_dead_letter(autojump_clock):
    recorder = Recorder()
    async with open_runtime("app", instruments=[recorder]) as runtime:
        worker = await runtime.spawn(
            "worker", partial(Worker, []), capacity=1, overflow="drop_newest"
        )
        worker.tell_nowait(Work("a", 1))
        await trio.testing.wait_all_tasks_blocked()
        worker.tell_nowait(Work("b", 1))
        recorder.take()
        with pytest.raises(Dropped):
            await worker.ask(Work("c", 1))
        assert recorder.take() == [
            ("message_sent", MessageSent("app/worker", "Work", None, ())),
            ("message_done", MessageDone("app/worker", "Work", None, "dropped", None, 0, 0)),
        ]


async def test_all_instruments_are_called(autojump_clock):
    recorders = [Recorder(), Recorder()]
    async with open_runtime("app", instruments=recorders) as runtime:
        counter = await runtime.spawn("counter", Counter)
        await counter.ask(Add(1))
    assert recorders[0].seen == recorders[1].seen
    assert len(recorders[0].seen) >= 4


@pytest.mark.parametrize("hook", HOOKS)
async def test_an_instrument_that_raises_is_logged_once_and_affects_no_actor(
    autojump_clock, log, hook
):
    """As in Trio: the runtime continues as if the instrument had been removed."""

    def broken(event: object) -> None:
        calls.append(event)
        raise RuntimeError("broken")

    calls: list[object] = []
    instrument, recorder = Instrument(), Recorder()
    setattr(instrument, hook, broken)
    async with open_runtime(
        "app", restarts=NO_PAUSE, instruments=[instrument, recorder], drain_s=2
    ) as runtime:
        worker = await runtime.spawn("worker", partial(Worker, []))
        for _ in range(2):
            with pytest.raises(ActorCrashed):
                await worker.ask(Fail(KeyError("bug")))
            assert await worker.ask(Work("a", 1)) == "a"
        assert runtime.snapshot()[worker.path].is_conserved
        worker.tell_nowait(Work("b", 5))
        worker.tell_nowait(Work("c", 5))
    assert len(calls) == 1
    assert set(HOOKS) == {name for name, _ in recorder.seen}, (
        "the other instrument still gets events"
    )
    (told,) = [event for event in log if event["event"] == "instrument_failed"]
    assert told["hook"] == hook
    assert "broken" in told["exception"]
    assert all(actor.is_conserved for actor in runtime.snapshot().actors)


# ---------------------------------------------------------------- the log


async def test_a_crash_is_one_event_with_the_chain_of_messages_across_asks(autojump_clock, log):
    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        counter = await runtime.spawn("counter", Counter)
        boss = await runtime.spawn("boss", partial(Boss, counter))
        with pytest.raises(ActorCrashed):
            await boss.ask(Delegate(KeyError("bug")))
        await trio.sleep(1)
    first, second = [event for event in log if event["event"] == "actor_crashed"]
    assert first["actor"] == "app/counter"
    assert first["in_progress"] == ["Delegate at app/boss -> Fail at app/counter"]
    assert first["verdict"] == ["may have run"]
    assert (first["decision"], first["restart_in_s"]) == ("restart", 0)
    assert (first["incarnation"], first["log_level"]) == (1, "error")
    assert isinstance(first["error"], KeyError)
    assert second["actor"] == "app/boss"
    assert second["in_progress"] == ["Delegate at app/boss"]
    assert isinstance(second["error"], ActorCrashed)
    assert len(log) == 2


async def test_the_chain_includes_actors_that_forwarded_the_message(autojump_clock, log):
    class Fragile(Worker):
        @handles(Work)
        async def work(self, message: Work) -> str:
            raise KeyError("bug")

    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        worker = await runtime.spawn("worker", partial(Fragile, []))
        relay = await runtime.spawn("relay", partial(Relay, worker))
        with pytest.raises(ActorCrashed):
            await relay.ask(Pass(Work("a")))
        await trio.sleep(1)
    (crash,) = [event for event in log if event["event"] == "actor_crashed"]
    assert crash["in_progress"] == ["Pass at app/relay -> Work at app/worker"]


async def test_a_failed_start_does_not_report_messages_lost_before(autojump_clock, log):
    class Moody(Counter):
        async def started(self) -> None:
            incarnations.append(1)
            if len(incarnations) == 2:
                raise OSError("no port")

    incarnations: list[int] = []
    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        moody = await runtime.spawn("moody", Moody)
        moody.tell_nowait(Fail(KeyError("bug")))
        assert await moody.ask(Add(1)) == 1
    assert [(event["in_progress"], event["uptime_s"]) for event in log] == [
        (["Fail at app/moody"], 0),
        ([], 0),
    ]


async def test_no_log_shows_the_locals_of_a_frame_whatever_renders_it(autojump_clock):
    class Careless(Counter):
        @handles(Add)
        async def add(self, message: Add) -> int:
            token = "s" + "3cr3t" * 2
            raise KeyError(len(token))

    out = io.StringIO()
    renderer = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.RichTracebackFormatter(show_locals=True)
    )
    dicts = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=True)
    )
    for processors in ([renderer], [dicts, structlog.processors.JSONRenderer(default=repr)]):
        structlog.configure(
            processors=processors, logger_factory=structlog.PrintLoggerFactory(file=out)
        )
        try:
            async with open_runtime(
                "app", restarts=NO_PAUSE, instruments=[StructlogInstrument()]
            ) as r:
                careless = await r.spawn("careless", Careless)
                with pytest.raises(ActorCrashed):
                    await careless.ask(Add(1))
                await trio.sleep(1)
        finally:
            structlog.reset_defaults()
    text = out.getvalue()
    assert text.count("actor_crashed") == 2
    assert "KeyError" in text
    assert "s3cr3t3cr3t" not in text


async def test_the_structlog_instrument_logs_all_events_but_handled_messages(autojump_clock, log):
    async with open_runtime("app", instruments=[StructlogInstrument()]) as runtime:
        log.clear()
        counter = await runtime.spawn("counter", Counter)
        await counter.ask(Add(1))
        error = Declared()
        with pytest.raises(Declared):
            await counter.ask(Fail(error))
        worker = await runtime.spawn("worker", partial(Worker, []), stop_s=0)
        worker.tell_nowait(Work("a"))
        await runtime.stop(worker)
        with pytest.raises(ActorStopped):
            worker.tell_nowait(Work("b"))
        events = [
            {key: value for key, value in event.items() if key != "log_level"} for event in log
        ]
        assert events == [
            {"event": "actor_spawned", "actor": "app/counter"},
            {"event": "actor_started", "actor": "app/counter", "incarnation": 1},
            {
                "event": "message_failed",
                "actor": "app/counter",
                "message": "Fail",
                "outcome": "declared error",
                "error": error,
            },
            {"event": "actor_spawned", "actor": "app/worker"},
            {"event": "actor_started", "actor": "app/worker", "incarnation": 1},
            {
                "event": "dead_letter",
                "actor": "app/worker",
                "message": "Work",
                "reason": "stopped",
            },
            {"event": "actor_stopped", "actor": "app/worker", "incarnation": 1},
        ]


async def test_the_structlog_instrument_writes_to_the_log_it_is_given(autojump_clock, log):
    mine = structlog.stdlib.get_logger("mine").bind(app="bakery")
    async with open_runtime("app", instruments=[StructlogInstrument(mine)]):
        pass
    assert {event["app"] for event in log} == {"bakery"}
