"""The examples use the built-in provider, whatever the environment says, unless told otherwise."""

import runpy
import socket
import sys
from functools import partial
from pathlib import Path

import pytest

import callsheet
from callsheet import simulator
from callsheet.simulator.settings import ProviderSettings

pytestmark = pytest.mark.sockets

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
CHOOSING = [path for path in EXAMPLES if "open_endpoint(" in path.read_text()]


@pytest.fixture
def paid_provider(monkeypatch):
    """A listening socket that the environment names as the provider, with a key for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        host, port = server.getsockname()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://{host}:{port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-never-sent-0123456789")
        yield server


@pytest.fixture
def run_example(monkeypatch):
    """Runs an example as `python examples/... ARGUMENTS` does, with a fast built-in provider."""
    fast = partial(ProviderSettings, time_scale=0.02)
    monkeypatch.setattr(simulator, "ProviderSettings", fast)

    def run(path, *arguments):
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        runpy.run_path(str(path), run_name="__main__")

    return run


def connections_to(server) -> int:
    count = 0
    while True:
        try:
            connection, _ = server.accept()
        except BlockingIOError:
            return count
        connection.close()
        count += 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_sends_nothing_to_the_provider_of_the_environment(
    path, run_example, paid_provider, capsys
):
    run_example(path)
    assert connections_to(paid_provider) == 0
    assert capsys.readouterr().out


def test_every_example_that_opens_an_endpoint_takes_a_provider():
    assert len(CHOOSING) == 11
    for path in CHOOSING:
        source = path.read_text()
        assert f"    python examples/{path.name} [PROVIDER]\n" in source
        assert "open_endpoint(PROVIDER)" in source


@pytest.mark.parametrize("path", CHOOSING, ids=lambda path: path.stem)
def test_an_example_refuses_a_provider_that_is_unknown(path, run_example):
    with pytest.raises(ValueError, match=r"'nonsense' is unknown; choose one of builtin, openai"):
        run_example(path, "nonsense")


@pytest.mark.parametrize("path", CHOOSING, ids=lambda path: path.stem)
def test_an_example_uses_the_provider_that_it_is_given(path, run_example, monkeypatch):
    opened = []

    def open_endpoint(provider):
        opened.append(provider)
        raise LookupError

    monkeypatch.setattr(callsheet, "open_endpoint", open_endpoint)
    with pytest.raises(LookupError):
        run_example(path, "openai")
    assert opened == ["openai"]
