"""Where readings come from: sockets of programs that run, have ended, or are of another kind."""

import os
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from callsheet import Endpoint, TroupeSettings, open_troupe
from callsheet.actors import InspectedProgram, Reading, to_line
from callsheet.top import source as sources
from callsheet.top.source import NoReading, open_source

pytestmark = pytest.mark.sockets

PATH = Path("app.sock")
HELLO = to_line(InspectedProgram(callsheet=1, pid=7, program="app"))
READING = to_line(Reading(at=1.0))
WHERE = str(PATH)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


async def test_a_program_is_read_again_and_again(monkeypatch):
    monkeypatch.setattr(Path, "absolute", lambda path: path)  # pytest's folders have long names
    settings = TroupeSettings(endpoint=Endpoint("http://127.0.0.1:1/v1"), inspect=PATH)
    async with open_troupe(settings), open_source(WHERE) as source:
        assert source.program.pid == os.getpid()
        first = await source.read()
        assert (await source.read()).at > first.at


def remove():
    PATH.unlink()
    return PATH


@asynccontextmanager
async def server(*pieces, ends=True):
    """Listen at the path, and send the pieces to each that connects."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(WHERE)
        listener.listen()

        async def serve(stream):
            async with stream:
                for piece in pieces:
                    await stream.send_all(piece)
                if not ends:
                    await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            made = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
            nursery.start_soon(trio.serve_listeners, serve, [made])
            yield
            nursery.cancel_scope.cancel()


async def problem(where=WHERE, readings=1):
    with pytest.raises(NoReading) as caught:
        async with open_source(where) as source:
            for _ in range(readings):
                await source.read()
    return str(caught.value)


async def test_lines_come_in_any_pieces():
    pieces = [bytes([byte]) for byte in HELLO + READING]
    async with server(*pieces), open_source(WHERE) as source:
        assert source.program.pid == 7
        assert (await source.read()).at == 1.0


async def test_a_program_that_ends_is_told():
    async with server(HELLO, READING):
        assert "the program at app.sock has ended" in await problem(readings=2)
    remove()
    async with server(HELLO, READING[:-5]):
        assert "the program at app.sock has ended" in await problem()


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ((b"220 mail.example ESMTP\r\n",), "app.sock: what answers there is no inspection socket"),
        ((b'{"refused":"16 readers are connected"}\n',), "app.sock: 16 readers are connected"),
        ((HELLO, b"[]\n"), "no inspection socket"),
        ((HELLO.replace(b":1,", b":9,"), READING), "version 9 of readings"),
    ],
)
async def test_what_is_no_program_of_this_version_is_told(pieces, words):
    async with server(*pieces):
        assert words in await problem()


async def test_a_line_without_an_end_is_not_kept(monkeypatch):
    monkeypatch.setattr(sources, "_MAX_LINE", 100_000)
    async with server(*[b"x" * 10_000] * 30, ends=False):
        assert "writes no lines" in await problem()


async def test_a_program_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(sources, "_CONNECT_S", 0.2)
    async with server(ends=False):
        assert "does not reply" in await problem()


async def test_a_path_without_a_program_is_told():
    assert "there is no socket at app.sock: the program does not run" in await problem()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(WHERE)
    assert "the program at app.sock has ended; its socket is left over" in await problem()
    remove().write_text("notes")
    assert "app.sock is no socket" in await problem()
    assert "cannot connect to" in await problem("x" * 300)
    assert "the URL of a gateway is http://box:4000" in await problem("box:4000")


async def test_another_user_is_told_who_may_look(monkeypatch):
    async def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(trio, "open_unix_socket", refuse)  # the superuser may connect anywhere
    assert "only the user who runs the program may look at it" in await problem()


@pytest.mark.parametrize("where", ["ftp://localhost/0", "postgres://x"])
async def test_other_sources_are_refused_by_their_scheme(where):
    assert f"readings from {where.partition(':')[0]}:// are not supported" in await problem(where)
