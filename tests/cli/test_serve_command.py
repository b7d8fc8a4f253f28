"""`callsheet serve`: what it checks and refuses, and its life from the first line to the drain."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
import structlog
import trio
from callsheet_process import CallsheetProcess
from click.testing import CliRunner
from provider_process import provider_process
from rich.console import Console

from callsheet.cli import main
from callsheet.cli.serve import _table
from callsheet.gateway.check import CheckedPart
from callsheet.gateway.keys import KeyFile, KeyTerms

MAIN = '[endpoints.main]\nprovider = "openai"\n'
SERVED = """
[endpoints.main]
base_url = "{provider}"
limits = {{ rpm = 6000 }}

[models]
"gpt-5-nano" = "main"

[gateway]
listen = "127.0.0.1:0"
drain_s = 5

[keys]
store = "keys.sqlite3"

[ledger]
path = "ledger.sqlite3"
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (name for name in os.environ if name.startswith(("CALLSHEET_", "OPENAI_"))):
        monkeypatch.delenv(name)
    monkeypatch.setenv("CALLSHEET_LEDGER", str(tmp_path / "ledger.sqlite3"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def run(tmp_path):
    """Runs `callsheet serve --check` with a file of a text."""

    def ran(*arguments, file=None, environ=None):
        given = []
        if file is not None:
            (tmp_path / "callsheet.toml").write_text(file)
            given = ["callsheet.toml"]
        arguments = ["serve", *given, *arguments, "--check"]
        return CliRunner().invoke(main, arguments, env=environ)

    return ran


def test_a_gateway_logs_its_warnings_without_verbose(monkeypatch):
    def warn(*_):
        structlog.get_logger().warning("key_store_unreadable", path="keys.sqlite3")
        return 0

    monkeypatch.setattr(trio, "run", warn)
    result = CliRunner().invoke(main, ["serve", "--provider", "builtin"])
    structlog.reset_defaults()
    begin = r"timestamp='\d{4}-\d\d-\d\dT[\d:.]+Z' event='key_store_unreadable' "
    assert re.search(f"^{begin}", result.stderr, re.MULTILINE), "as the lines of requests begin"


def test_a_library_logs_in_the_form_of_all_lines_of_a_server(monkeypatch):
    """Its record has the time, and neither a traceback of several lines nor a secret."""

    def warn(*_):
        try:
            int("sk-abcdefghijklmnopqrstuvwxyz0123456789abcd")
        except ValueError:
            logging.getLogger("callsheet.serving").exception("the app failed at %s", "/v1")
        return 0

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()  # those of the tests
    monkeypatch.setattr(trio, "run", warn)
    try:
        result = CliRunner().invoke(main, ["serve", "--provider", "builtin"])
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()
    [line] = result.stderr.splitlines()
    begin = r"timestamp='\d{4}-\d\d-\d\dT[\d:.]+Z' event='the app failed at /v1' "
    assert re.match(f"{begin}level='error' logger='callsheet.serving' error=", line)
    assert "sk-abcdef" not in line


# -------------------------------------------------------------------------------------- check


def test_a_check_prints_each_part_and_sends_nothing(run, tmp_path):
    result = run(
        file=f"{MAIN}[gateway]\nlisten = '127.0.0.1:0'\n", environ={"OPENAI_API_KEY": "k-1"}
    )
    assert result.exit_code == 0, result.output
    lines = {" ".join(line.split()) for line in result.stdout.splitlines()}
    assert "listen 127.0.0.1:0 ok this machine only" in lines
    assert "endpoint main ok OpenAI at https://api.openai.com/v1; 100 in flight" in lines
    assert "model * ok to main" in lines
    assert not (tmp_path / "ledger.sqlite3").exists()


def test_the_built_in_provider_needs_no_key_and_no_file(run):
    environ = {"CALLSHEET_LEDGER": None}
    result = run("--provider", "builtin", "--listen", "127.0.0.1:0", environ=environ)
    assert result.exit_code == 0, result.output
    assert "in memory: costs are lost at the end" in result.stdout


def test_an_error_of_a_part_ends_the_check_with_2(run, tmp_path):
    result = run(
        "--listen",
        "127.0.0.1:0",
        file=f"{MAIN}[keys]\nstore = 'keys.sqlite3'\n",
        environ={"OPENAI_API_KEY": "k-1"},
    )
    assert result.exit_code == 2
    assert "create a first key" in " ".join(result.stdout.split())
    assert "The gateway cannot start" in result.stderr


def test_a_check_prints_brackets_as_they_are(capsys):
    text = "install the extra 'metrics': pip install '.[metrics]'"
    Console(width=200).print(_table((CheckedPart("metrics", "a[b]", "note", text),)))
    printed = capsys.readouterr().out
    assert "a[b]" in printed
    assert text in printed


@pytest.mark.parametrize(
    ("arguments", "file", "words"),
    [
        ((), MAIN, "callsheet.toml: endpoints.main: OpenAI needs an API key; set OPENAI_API_KEY"),
        ((), "[modles]\n", "callsheet.toml: modles: is unknown; did you mean models?"),
        ((), None, "try it with --provider builtin"),
        (("nowhere.toml",), None, "nowhere.toml: the file does not exist"),
        (
            ("--provider", "builtin", "--listen", "0.0.0.0:0"),
            None,
            "other machines can connect to 0.0.0.0:0 and spend your money",
        ),
        (("--env-file", "nowhere.env"), MAIN, "nowhere.env: cannot be read"),
    ],
)
def test_what_cannot_be_served_is_one_line(run, arguments, file, words):
    result = run(*arguments, file=file)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_of_variables_has_the_keys(run, tmp_path):
    (tmp_path / ".env").write_text("OPENAI_API_KEY=k-1\n")
    assert run("--env-file", ".env", "--listen", "127.0.0.1:0", file=MAIN).exit_code == 0


# --------------------------------------------------------------------------------- as a process


@contextmanager
def served(*arguments):
    """Run `callsheet serve`; yield the process and its URL."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with CallsheetProcess("serve", *arguments, text=True, **pipes) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def line_with(process, words):
    """Return the next line on stderr that has these words."""
    for line in process.stderr:
        if words in line:
            return line.strip()
    raise AssertionError(f"the process has ended without {words!r}")


@pytest.mark.sockets
@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")
def test_a_gateway_serves_reloads_and_drains(tmp_path, provider):
    file = tmp_path / "callsheet.toml"
    file.write_text(SERVED.format(provider=provider))
    with KeyFile(tmp_path / "keys.sqlite3", create=True) as store:
        secret = store.create(KeyTerms(name="team-a")).secret
    body = {"model": "gpt-5-nano", "messages": [{"role": "user", "content": "Hi"}]}
    with (
        served("callsheet.toml") as (process, url),
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60
        ) as client,
    ):
        line = line_with(process, "OPENAI_BASE_URL")
        assert re.match(r"timestamp='[\d:.TZ-]+' event='serving' message='To use it, set ", line)
        assert f"OPENAI_BASE_URL={url}/v1" in line
        assert client.get("/readyz").json()["ready"] is True
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        line = line_with(process, "event='request'")
        assert "path='/v1/chat/completions' status=200" in line
        assert "model='gpt-5-nano' troupe='main' cost_usd=" in line
        assert secret not in line

        file.write_text(SERVED.format(provider=provider).replace("6000", "60"))
        process.send_signal(signal.SIGHUP)
        assert line_with(process, "read again").endswith("new limits of main.'")
        file.write_text(SERVED.format(provider=provider).replace("6000", "-1"))
        process.send_signal(signal.SIGHUP)
        line = line_with(process, "stay as they are")
        assert line.endswith("endpoints.main.limits.rpm: must be above 0, got -1'")

        body |= {"stream": True, "max_tokens": 200}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            pieces = response.iter_text()
            next(pieces)
            process.terminate()
            line = line_with(process, "Accepting no more requests")
            assert re.match(r"timestamp='[\d:.TZ-]+' event='draining' message=", line)
            assert "".join(pieces).endswith("data: [DONE]\n\n")  # it ends whole
        assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.sockets
@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")
def test_a_second_signal_ends_a_gateway_at_once():
    body = {"model": "gpt-5-nano", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    with (
        provider_process("--latency", "30", "--first-piece", "0.01") as provider,
        served("--base-url", provider, "--listen", "127.0.0.1:0") as (process, url),
        httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response,
    ):
        pieces = response.iter_raw()
        next(pieces)
        process.terminate()
        line_with(process, "Accepting no more requests")
        time.sleep(0.4)  # signals of a moment are one
        process.terminate()
        assert process.wait(60) == 130


@pytest.mark.slow
@pytest.mark.sockets
def test_an_address_that_is_taken_is_one_line():
    with (
        served("--provider", "builtin", "--listen", "127.0.0.1:0") as (_, url),
        served("--provider", "builtin", "--listen", url.removeprefix("http://")) as (other, _),
    ):
        assert other.wait(60) == 2
        text = other.stderr.read()
    assert text.startswith("Error: cannot listen at 127.0.0.1:")
    assert text.count("\n") == 1
