"""Where a server listens, and what it says when it cannot."""

import socket
import stat

import pytest
import trio

from callsheet.serving import CannotServe, Listen
from callsheet.serving.address import bind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9464", Listen("127.0.0.1", 9464)),
        (":9464", Listen("127.0.0.1", 9464)),
        ("0.0.0.0:1", Listen("0.0.0.0", 1)),
        ("[::1]:0", Listen("::1", 0)),
        ("localhost:80", Listen("localhost", 80)),
        ("unix:/run/app.sock", Listen(path="/run/app.sock", mode=0o600)),
        ("unix:/run/app.sock?mode=0660", Listen(path="/run/app.sock", mode=0o660)),
    ],
)
def test_an_address_is_read(text, expected):
    assert Listen.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("here", "127.0.0.1", "localhost:http", "1:65536", "a:-1", "", ":", "::1:80", "[::1]"),
        *("[::1:80", "a b:1", "http://a:1", "a:٣", "unix:", "unix:run", "unix:/", "unix:/a\0b"),
        *("unix:/a?mode=", "unix:/a?mode=9", "unix:/a?mode=7777"),
    ],
)
def test_what_is_no_address_is_refused_with_the_forms(text):
    with pytest.raises(ValueError, match=r"is no address: write (HOST:PORT|unix:/PATH)"):
        Listen.parse(text)


def test_what_is_no_text_or_no_port_is_refused():
    with pytest.raises(TypeError, match="an address is text"):
        Listen.parse(4000)
    with pytest.raises(ValueError, match="65536 is no port"):
        Listen("127.0.0.1", 65536)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True)),
        *(("0.0.0.0:1", False), ("[::]:1", False), ("10.0.0.1:1", False), ("host:1", False)),
        ("unix:/a", True),
    ],
)
def test_loopback_is_known(text, expected):
    assert Listen.parse(text).is_loopback is expected


@pytest.mark.parametrize("text", ["127.0.0.1:4000", "[::1]:0", "unix:/run/app.sock"])
def test_an_address_is_shown_as_it_is_written(text):
    assert str(Listen.parse(text)) == text


# ---------------------------------------------------------------------------------- real sockets


@pytest.mark.sockets
async def test_a_name_has_the_same_free_port_at_each_of_its_addresses():
    bound = await bind(Listen("localhost", 0))
    ports = {listener.socket.getsockname()[1] for listener in bound.listeners}
    bound.close()
    assert ports == {bound.listen.port}
    assert bound.listen.port > 0


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        (Listen("192.0.2.1", 0), "this machine has no such address"),
        (Listen("no.such.host.invalid", 0), "name an address of this machine"),
        (Listen(path="/nowhere/app.sock"), "there is no folder /nowhere"),
        (Listen(path="/tmp/" + "a" * 200), "choose a shorter path"),
        (Listen(path=__file__), "a file is there that is no socket; choose another path"),
    ],
    ids=["address", "name", "folder", "long path", "file"],
)
async def test_what_cannot_be_used_has_a_remedy(listen, reason):
    with pytest.raises(CannotServe, match=f"cannot listen at .*: .*{reason}"):
        await bind(listen)


@pytest.mark.sockets
async def test_a_port_that_is_taken_is_named():
    bound = await bind(Listen("127.0.0.1", 0))
    with pytest.raises(CannotServe, match=f"at {bound.listen}: .*; choose another port"):
        await bind(bound.listen)
    bound.close()


@pytest.mark.sockets
async def test_a_unix_socket_has_its_mode_and_is_removed(tmp_path):
    listen = Listen(path=f"{tmp_path}/app.sock", mode=0o640)
    bound = await bind(listen)
    assert stat.S_IMODE((tmp_path / "app.sock").stat().st_mode) == 0o640
    with pytest.raises(CannotServe, match="another program listens there; choose another path"):
        await bind(listen)
    bound.close()
    bound.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.sockets
async def test_a_unix_socket_of_a_program_that_was_killed_is_replaced(tmp_path):
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    first = await bind(Listen(path=str(path)))
    path.unlink()
    second = await bind(Listen(path=str(path)))
    first.close()  # leaves the other's socket
    stream = await trio.open_unix_socket(str(path))
    await stream.aclose()
    second.close()
    assert not path.exists()
