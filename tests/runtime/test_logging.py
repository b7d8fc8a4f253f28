"""Where the log goes: to `logging`, or to structlog where the application has set that up (R18)."""

import io
import logging
import sys

import attrs
import pytest
import structlog

from callsheet.runtime import (
    Actor,
    Message,
    RestartPolicy,
    StructlogInstrument,
    get_logger,
    handles,
    open_runtime,
)


@attrs.frozen
class Fail(Message[None]):
    pass


@attrs.frozen
class Ping(Message[int]):
    pass


class Worker(Actor):
    @handles(Fail)
    async def fail(self, message: Fail) -> None:
        raise KeyError("a bug")

    @handles(Ping)
    async def ping(self, message: Ping) -> int:
        return 1


@pytest.fixture(autouse=True)
def unconfigured():
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


async def crash_once(**options: object) -> None:
    async with open_runtime("app", restarts=RestartPolicy(base_s=0), **options) as runtime:
        worker = await runtime.spawn("worker", Worker)
        await worker.tell(Fail())
        assert await worker.ask(Ping()) == 1


async def test_a_crash_is_logged_to_logging_and_not_to_standard_output(
    autojump_clock, caplog, capsys
):
    await crash_once()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("callsheet.runtime", "ERROR")
    assert record.getMessage().startswith("actor_crashed actor='app/worker'")
    assert "KeyError: 'a bug'" in record.getMessage()
    assert record.event == "actor_crashed"
    assert record.fields["actor"] == "app/worker"
    assert record.module == "crashes"  # where it was logged
    assert capsys.readouterr().out == ""


async def test_levels_of_logging_count(autojump_clock, caplog):
    await crash_once(instruments=[StructlogInstrument()])
    assert "actor_started" not in caplog.text
    caplog.set_level(logging.INFO, "callsheet.runtime")
    await crash_once(instruments=[StructlogInstrument()])
    assert "actor_started actor='app/worker' incarnation=2" in caplog.text
    assert "actor_spawned" not in caplog.text


@pytest.mark.filterwarnings("ignore:Remove `format_exc_info`")  # structlog before 26.1
async def test_an_application_that_has_configured_structlog_gets_the_events(
    autojump_clock, caplog, capsys
):
    out = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(out))
    await crash_once()
    assert out.getvalue().count("actor_crashed") == 1
    assert caplog.records == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stderr", ["open", "closed", "missing"])
async def test_a_processor_that_raises_costs_no_message(
    autojump_clock, capsys, monkeypatch, stderr
):
    def broken(*_: object) -> str:
        raise ValueError("a broken processor")

    structlog.configure(processors=[broken])
    if stderr != "open":
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(sys, "stderr", closed if stderr == "closed" else None)
    await crash_once(instruments=[StructlogInstrument()])
    if stderr == "open":
        err = capsys.readouterr().err
        assert "the event actor_crashed could not be logged" in err
        assert "a broken processor" in err


@pytest.mark.parametrize("name", ["callsheet.runtime", "mine"])
def test_a_filter_of_logging_that_raises_costs_the_caller_nothing(name, capsys):
    def broken(_: logging.LogRecord) -> bool:
        raise ValueError("a broken filter")

    logger = logging.getLogger(name)
    logger.addFilter(broken)
    try:
        get_logger(name).warning("stopped", reason="late")
    finally:
        logger.removeFilter(broken)
    assert "a broken filter" in capsys.readouterr().err


def test_a_field_without_text_costs_the_caller_nothing(capsys, caplog):
    class Mute:
        def __repr__(self) -> str:
            raise ValueError("no text")

    get_logger("mine").warning("stopped", reason=Mute())
    assert "no text" in capsys.readouterr().err
    get_logger("mine").warning("100%s", name="a", level=3, message="b", args=())  # no clash
    assert caplog.records[-1].getMessage() == "100%s name='a' level=3 message='b' args=()"
