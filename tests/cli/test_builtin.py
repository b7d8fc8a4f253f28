"""`--provider builtin` uses the built-in provider, whatever the environment contains."""

import json
import socket
from functools import partial

import pytest
from click.testing import CliRunner

from callsheet import simulator
from callsheet.actors import default_recipe
from callsheet.cli import main
from callsheet.simulator.settings import ProviderSettings

pytestmark = pytest.mark.sockets


@pytest.fixture
def paid_provider(monkeypatch):
    """A listening socket that the environment names as the provider, with a key for it."""
    fast = partial(ProviderSettings, time_scale=0.02)
    monkeypatch.setattr(simulator, "ProviderSettings", fast)
    monkeypatch.delenv("CALLSHEET_LEDGER")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        host, port = server.getsockname()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://{host}:{port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-never-sent-0123456789")
        yield server


def invoke(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments), "--provider", "builtin"])
    assert result.exit_code == 0, result.output
    provider = next(line for line in result.stderr.splitlines() if line.startswith("Provider:"))
    assert provider.startswith("Provider: builtin at http://127.0.0.1:")
    assert "(--provider builtin)" in provider
    return result


def test_compose_sends_nothing_elsewhere(paid_provider):
    result = invoke("compose", "Tea", "--json")
    assert json.loads(result.stdout)["topic"] == "Tea"
    with pytest.raises(BlockingIOError):
        paid_provider.accept()


def test_run_sends_nothing_elsewhere(paid_provider, tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"id": "a", "prompt": "Tea?", "model": "gpt-4o-mini"}) + "\n")
    invoke("run", source, output)
    assert json.loads(output.read_text())["custom_id"] == "a"
    with pytest.raises(BlockingIOError):
        paid_provider.accept()


def test_run_has_a_model_for_rows_that_name_none(paid_provider, tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"prompt": "hello"}) + "\n")
    invoke("run", source, output)
    assert json.loads(output.read_text())["response"]["body"]["model"] == default_recipe().model


@pytest.mark.parametrize("command", [["compose", "Tea"], ["run", "in.jsonl", "out.jsonl"]])
def test_it_has_no_base_url(command):
    both = ["--provider", "builtin", "--base-url", "http://127.0.0.1:9/v1"]
    result = CliRunner().invoke(main, [*command, *both])
    assert result.exit_code == 2
    assert "--base-url: --provider builtin runs in this process" in result.stderr
