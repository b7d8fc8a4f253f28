"""The inspection socket of a troupe: readers are served, bounded, and never harm a call."""

import asyncio
import json
import os
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from fakes import URL
from provided import asked

from callsheet import aio, sync
from callsheet.actors import (
    Endpoint,
    InspectionUnavailable,
    Reading,
    TroupeSettings,
    UnreadableLine,
    open_troupe,
    read_program,
    read_reading,
)
from callsheet.actors.inspection import actor as inspector
from callsheet.runtime import RestartPolicy
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

pytestmark = pytest.mark.sockets

PATH = Path("app.sock")


def is_gone():
    return not PATH.exists()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "absolute", lambda path: path)  # pytest's folders have long names


@asynccontextmanager
async def inspected(latency_s=0.3, **more):
    provider = Provider(ProviderSettings(latency_s=(latency_s, latency_s)))
    async with ProviderTransport(provider) as transport:
        settings = TroupeSettings(endpoint=Endpoint(URL), transport=transport, inspect=PATH)
        async with open_troupe(settings, **more) as troupe:
            yield troupe


async def test_the_loop_goes_on_while_another_process_opens_a_socket_in_the_folder():
    fcntl = pytest.importorskip("fcntl")
    folder = os.open(".", os.O_RDONLY)
    opened, turns = trio.Event(), 0

    async def open_it():
        async with inspected():
            opened.set()

    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_it)
            while not opened.is_set():
                await trio.sleep(0.005)
                turns += PATH.name not in os.listdir()  # noqa: PTH208  # names suffice
    finally:
        os.close(folder)
    assert turns > 5


class Reader:
    """Reads lines from a socket."""

    def __init__(self, stream):
        self.stream = stream
        self.rest = b""

    async def line(self):
        while b"\n" not in self.rest:
            received = await self.stream.receive_some()
            if not received:
                return b""
            self.rest += received
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    async def next(self):
        await self.stream.send_all(b"\n")
        return read_reading(await self.line())


@asynccontextmanager
async def connected():
    with trio.fail_after(20):
        async with await trio.open_unix_socket(PATH) as stream:
            yield Reader(stream)


async def test_a_reader_gets_the_program_and_a_reading_for_each_line():
    async with inspected() as troupe, trio.open_nursery() as nursery, connected() as reader:
        assert read_program(await reader.line()).pid > 0
        first = read_reading(await reader.line())
        assert first.in_flight == 0
        nursery.start_soon(troupe.complete, asked())
        second = await reader.next()
        while second.in_flight != 1:
            second = await reader.next()
        assert second.at > first.at
        kinds = {one.kind for one in second.actors}
        assert {"InspectorActor", "RateLimiterActor", "RequestActor", "supervisor"} <= kinds
    assert is_gone()


async def test_several_readers_share_readings(monkeypatch):
    read = []
    async with inspected() as troupe:
        monkeypatch.setattr(inspector, "to_line", partial(counted, read))
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(reads, 3)
        assert len(read) <= 10 + 10, "who each of the programs is, and far less than 30 readings"
        await troupe.complete(asked())


def test_a_reading_of_many_actors_and_calls_is_given_for_longer():
    """So that a program with 10,000 actors is not stopped for 0.3 s in each second."""
    assert inspector.fresh_s(Reading(at=0.0, waiting=1000)) == pytest.approx(0.2)
    assert inspector.fresh_s(Reading(at=0.0, left_out={"actors": 10_000})) == pytest.approx(5)
    assert inspector.fresh_s(Reading(at=0.0, waiting=200_000)) == pytest.approx(2)


def counted(read, value, to_line=inspector.to_line):
    read.append(value)
    return to_line(value)


async def reads(count):
    async with connected() as reader:
        read_program(await reader.line())
        read_reading(await reader.line())
        for _ in range(count - 1):
            await reader.next()


async def test_one_reader_too_many_is_told_and_the_others_go_on():
    async with inspected(), trio.open_nursery() as nursery:
        for _ in range(inspector._MAX_READERS):
            await nursery.start(stays)
        async with connected() as reader:
            with pytest.raises(UnreadableLine, match="16 readers are connected"):
                read_program(await reader.line())
        nursery.cancel_scope.cancel()


async def stays(task_status):
    async with connected() as reader:
        await reader.line()
        task_status.started()
        await trio.sleep_forever()


@pytest.mark.parametrize("way", ["silent", "slow", "talks", "leaves"])
async def test_a_reader_that_misbehaves_is_disconnected_and_calls_go_on(monkeypatch, way):
    monkeypatch.setattr(inspector, "_SILENT_S", 0.3)
    monkeypatch.setattr(inspector, "_SEND_S", 0.3)
    if way == "slow":
        monkeypatch.setattr(inspector, "to_line", lambda _: b"x" * 10_000_000)
    async with inspected() as troupe, connected() as reader:
        if way == "talks":
            await reader.stream.send_all(b"GET / HTTP/1.1" * 500)
        elif way == "leaves":
            await reader.stream.aclose()
        await trio.sleep(0.6)
        await troupe.complete(asked())
        if way != "leaves":
            assert await ends(reader)
        socket = troupe.runtime.snapshot()["troupe/inspection/socket"]
        assert socket.incarnation == 1


async def ends(reader):
    with suppress(trio.BrokenResourceError):  # there is a request that was not read
        while await reader.line():
            pass
    return True


async def test_a_crash_of_the_socket_harms_no_call_and_it_is_given_up(monkeypatch):
    """Not even in a troupe that allows no restart (R7)."""

    def broken(_):
        raise RuntimeError("a bug in the inspection")

    restarts = RestartPolicy(max_restarts=0)
    monkeypatch.setattr(
        inspector, "_RESTARTS", RestartPolicy(max_restarts=3, base_s=0.01, cap_s=0.01)
    )
    async with inspected(restarts=restarts) as troupe, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(troupe.complete, asked())
        monkeypatch.setattr(inspector, "to_line", broken)
        with trio.fail_after(20):
            while "troupe/inspection" in [node.path for node in troupe.runtime.snapshot()]:
                with suppress(OSError):
                    async with connected() as reader:
                        await ends(reader)
                await trio.sleep(0.01)
        await troupe.complete(asked())
        assert is_gone()


async def test_a_drain_can_be_watched():
    found = []
    async with trio.open_nursery() as nursery, inspected(latency_s=1.0) as troupe:
        await nursery.start(watches, found)
        nursery.start_soon(troupe.complete, asked())
        await trio.sleep(0.1)
    states = {one.state for reading in found for one in reading.actors}
    assert "draining" in states
    assert found[-1].missing, "the stages that have stopped"


async def watches(found, task_status):
    async with connected() as reader:
        await reader.line()
        found.append(read_reading(await reader.line()))
        task_status.started()
        with suppress(trio.BrokenResourceError, UnreadableLine):
            while True:
                found.append(await reader.next())


async def test_a_second_troupe_with_the_same_path_is_refused_with_the_reason():
    async with inspected() as troupe:
        with pytest.raises(InspectionUnavailable, match=r"this process listens at app\.sock"):
            async with inspected():
                pytest.fail("it was opened")
        await troupe.complete(asked())
        async with connected() as reader:
            read_program(await reader.line())


async def test_a_client_of_another_kind_gets_lines_of_json():
    async with inspected(), connected() as reader:
        assert json.loads(await reader.line())["callsheet"] == 1
        assert json.loads(await reader.line())["max_in_flight"] > 0


SETTINGS = TroupeSettings(endpoint=Endpoint("http://127.0.0.1:1/v1"), inspect=PATH)


def test_a_script_has_the_socket_too():
    with sync.open_troupe(SETTINGS):
        trio.run(reads, 2)
    assert is_gone()


def test_a_program_of_asyncio_has_the_socket_too():
    async def main():
        async with aio.open_troupe(SETTINGS):
            reader, writer = await asyncio.open_unix_connection(str(PATH))
            read_program(await reader.readline())
            read_reading(await reader.readline())
            writer.close()

    asyncio.run(main())
    assert is_gone()


def test_a_script_that_cannot_open_the_socket_gets_the_reason():
    PATH.write_text("notes")
    with pytest.raises(InspectionUnavailable, match="is no socket"), sync.open_troupe(SETTINGS):
        pytest.fail("it was opened")
    assert PATH.read_text() == "notes"
