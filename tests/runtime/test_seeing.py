"""R12: the tree as events, and the report of a crash."""

import io
from functools import partial

import attrs
import pytest
import structlog
import trio
from sample_actors import Add, Counter, Declared, Fail, Pass, Relay, Work, Worker

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


@pytest.mark.filterwarnings("ignore:Remove `format_exc_info`")  # structlog before 26.1
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
