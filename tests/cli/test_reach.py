"""`callsheet compose` gives up if no connection was ever made; until then calls wait (R10)."""

import time

import pytest
import trio
from click.testing import CliRunner

from callsheet.actors import CallContext, CallEvent
from callsheet.cli import main
from callsheet.cli.compose import reach
from callsheet.cli.compose.reach import ConnectionWatch


def event(stage, call="a", *, error=None, reached=False):
    return CallEvent(
        stage=stage,
        at=trio.current_time(),
        context=CallContext(call),
        model="m",
        error=error,
        is_unreachable=stage == "retrying" and not reached,
    )


async def given_up(*events, seconds=60.0):
    """Pass events on, each at its second; return when and why the watch gave up, if it did."""
    found, start = [], trio.current_time()
    watch = ConnectionWatch(lambda why: found.append((trio.current_time() - start, why)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        for at, stage, more in events:
            await trio.sleep_until(start + at)
            watch.observe(event(stage, **more))
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return found


REFUSED = {"error": "cannot connect"}


async def test_it_gives_up_five_seconds_after_the_first_refused_connection(autojump_clock):
    (found,) = await given_up((1, "sent", {}), (1, "retrying", REFUSED))
    assert found == (6, "cannot connect; gave up after 5 s without a connection")


async def test_an_attempt_in_flight_may_be_connected(autojump_clock):
    events = [(1, "sent", {}), (1, "retrying", REFUSED), (3, "sent", {})]
    assert await given_up(*events) == []
    (found,) = await given_up(*events, (13, "retrying", REFUSED))
    assert found[0] == 13, "at its end, if it was not"


@pytest.mark.parametrize(
    "later",
    [(4, "answered", {"call": "b"}), (4, "retrying", {"error": "503", "reached": True})],
)
async def test_a_provider_that_was_reached_is_waited_for(autojump_clock, later):
    events = [(1, "sent", {}), (1, "retrying", REFUSED), later, (20, "retrying", REFUSED)]
    assert await given_up(*events) == []


@pytest.mark.sockets
def test_an_address_that_refuses_ends_every_post(monkeypatch):
    monkeypatch.setattr(reach, "_GIVES_UP_S", 1.0)
    began = time.monotonic()
    command = ["compose", "Tea", "Coffee", "--base-url", "http://127.0.0.1:9/v1"]
    result = CliRunner().invoke(main, command)
    assert 1 < time.monotonic() - began < 9
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 2
    for line in errors:
        assert "cannot connect to 127.0.0.1:9 (Connection refused)" in line
        assert line.endswith("gave up after 1 s without a connection")
    first = next(line for line in result.stderr.splitlines() if "retrying" in line)
    assert float(first[1:6]) < 2, "it is reported at once"
