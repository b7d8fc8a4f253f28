"""The commands and the settings of docs/scale.md do what the page says, typed as they are there."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from valkey_server import CLI, SERVER, needs_server, valkey_server

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text()
URL = "unix:///run/valkey.sock"
ROWS = 200


def commands():
    section = PAGE.partition("## A shared run, step by step")[2].partition("\n## ")[0]
    return re.findall(r"^callsheet (.+)$", section, re.MULTILINE)


def started(command, url, cwd, base_url):
    words = [word.replace(URL, url) for word in shlex.split(command)]
    environment = os.environ | {
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "sk-test",
        "HOME": str(cwd),
        "XDG_STATE_HOME": str(cwd / "state"),
    }
    with (cwd / f"{words[0]}.err").open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "callsheet", *words], cwd=cwd, env=environment, stderr=err
        )


@contextlib.contextmanager
def simulated():
    command = [sys.executable, "-m", "callsheet", "simulate", "--port", "0", "--latency", "0.1-0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as provider:
        try:
            yield provider.stdout.readline().strip()
        finally:
            provider.send_signal(signal.SIGINT)


@pytest.mark.slow
def test_the_commands_of_the_page_answer_every_row(tmp_path):
    needs_server()
    alone, joins, local = commands()
    rows = [
        json.dumps({"prompt": f"Say hello to guest {n}.", "max_tokens": 5}) for n in range(ROWS)
    ]
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows))
    answers = tmp_path / "answers.jsonl"
    with valkey_server(appendonly="yes") as server, simulated() as base_url:
        holder = started(f"{alone} --model gpt-5.4-nano", server.url, tmp_path, base_url)
        while "callsheet work" not in (said := (tmp_path / "run.err").read_text()):
            assert holder.poll() is None, said
            time.sleep(0.05)
        worker = started(joins, server.url, tmp_path, base_url)
        assert holder.wait(60) == 0
        assert worker.wait(30) in (0, 2)  # 2 if the run was over before the worker came
        assert len(answers.read_text().splitlines()) == ROWS
        answers.rename(tmp_path / "first.jsonl")
        assert started(f"{local} --model gpt-5.4-nano", "", tmp_path, base_url).wait(60) == 0
    assert len(answers.read_text().splitlines()) == ROWS


def test_a_server_takes_the_configuration_of_the_page(tmp_path):
    needs_server()
    found = re.search(r"^# valkey\.conf.*?\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]
    config = tmp_path / "valkey.conf"
    socket = Path(f"/tmp/cs{os.getpid()}")
    config.write_text(
        found.replace("bind 10.0.0.5", f"port 0\nunixsocket {socket}") + f"dir {tmp_path}\n"
    )
    with subprocess.Popen([SERVER, str(config)], stdout=subprocess.DEVNULL) as server:
        try:
            asked = [CLI, "-s", str(socket), "-a", "a-long-password", "CONFIG", "GET"]
            asked += ["maxmemory-policy", "appendonly", "appendfsync"]
            ends = time.monotonic() + 10.0
            while "noeviction" not in (
                said := subprocess.run(asked, capture_output=True, text=True, check=False).stdout
            ):
                assert time.monotonic() < ends, said
                time.sleep(0.02)
        finally:
            server.kill()
    socket.unlink(missing_ok=True)
    assert dict(zip(said.split()[::2], said.split()[1::2], strict=True)) == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }
