"""The programs of docs/asyncio.md run: each alone, under its server, or in a kernel of Jupyter."""

import asyncio
import os
import re
import runpy
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from provider_process import provider_process

from callsheet import simulator
from callsheet.simulator.settings import ProviderSettings

PAGE = Path(__file__).parents[2] / "docs" / "asyncio.md"
START_S = 60.0  # a busy machine takes long to import a server
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def section(title):
    """Return the programs of a section, each with the documented output."""
    text = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [(match[1], match[2] or "") for match in BLOCK.finditer(text)]


def needs(*packages):
    missing = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


@pytest.mark.sockets
@pytest.mark.parametrize("title", ["asyncio", "Plain programs and threads"])
def test_a_program_prints_the_documented_output(title, tmp_path, monkeypatch, capsys):
    fast = partial(ProviderSettings, time_scale=0.02)
    monkeypatch.setattr(simulator, "ProviderSettings", fast)
    ((program, prints),) = section(title)
    (tmp_path / "program.py").write_text(program)
    runpy.run_path(str(tmp_path / "program.py"), run_name="__main__")
    assert capsys.readouterr().out == prints


# -------------------------------------------------------------------------------- under a server


@pytest.fixture(scope="module")
def provider():
    with provider_process("--time-scale", "0.02") as base_url:
        yield base_url


@contextmanager
def served(title, provider, folder, *command):
    """Run the app of a section under a server, and provide its address."""
    ((program, _),) = section(title)
    (folder / "app.py").write_text(program)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [str(port) if word == "PORT" else word.replace("PORT", str(port)) for word in command]
    environment = {"OPENAI_BASE_URL": provider, "OPENAI_API_KEY": "sk-test"}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words, "app:app"],
            cwd=folder,
            env=environment_with(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_server(url, process, log)
            yield url
            process.terminate()
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def environment_with(values):
    return {**os.environ, **values}


def wait_for_server(url, process, log):
    ends_at = time.monotonic() + START_S
    while True:
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError:
            log.seek(0)
            assert process.poll() is None, log.read()
            assert time.monotonic() < ends_at, log.read()
            time.sleep(0.1)
        else:
            return


@pytest.mark.sockets
@needs("fastapi", "uvicorn")
def test_fastapi_under_uvicorn(provider, tmp_path):
    command = ("uvicorn", "--port", "PORT", "--log-level", "warning")
    with (
        served("FastAPI under uvicorn", provider, tmp_path, *command) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):
        answer = client.post("/titles", params={"topic": "tea"})
        assert answer.status_code == 200, answer.text
        assert answer.json()
        with client.stream("POST", "/stories", params={"topic": "tea"}) as story:
            assert len("".join(story.iter_text())) > 50
        with client.stream("POST", "/stories", params={"topic": "tea"}) as story:
            next(story.iter_text())  # and the client goes away
        assert client.post("/titles", params={"topic": "tea"}).json()
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow  # test_while_connected.py shows it without a server
@pytest.mark.sockets
@needs("fastapi", "uvicorn")
def test_a_client_that_goes_away_ends_the_call_of_an_endpoint(tmp_path):
    command = ("uvicorn", "--port", "PORT", "--log-level", "warning")
    with (
        provider_process("--latency", "60-60") as slow,
        served("FastAPI under uvicorn", slow, tmp_path, *command) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=3) as client,
    ):
        with pytest.raises(httpx.ReadTimeout):
            client.post("/titles", params={"topic": "tea"})
        ends_at = time.monotonic() + 30
        while (seen := statistics_of(slow))["in_flight"] or not seen["requests"]:
            assert time.monotonic() < ends_at, seen
            time.sleep(0.1)
        assert (seen["requests"], seen["answered"]) == (1, 0)
    assert "Traceback" not in (tmp_path / "log").read_text()


def statistics_of(provider):
    address = provider.removesuffix("/v1") + "/callsheet/stats"
    return httpx.get(address, trust_env=False).json()


@pytest.mark.slow
@pytest.mark.sockets
def test_starlette_under_hypercorn_on_trio(provider, tmp_path):
    command = ("hypercorn", "--worker-class", "trio", "--bind", "127.0.0.1:PORT")
    title = "Starlette under Hypercorn on Trio"
    with served(title, provider, tmp_path, *command) as url:
        answer = httpx.post(f"{url}/titles", params={"topic": "tea"}, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        assert answer.text
    assert "Traceback" not in (tmp_path / "log").read_text()


# ---------------------------------------------------------------------------------- in a notebook

SYNC_CELL = """
from callsheet.sync import open_troupe as open_blocking
with open_blocking(TroupeSettings(endpoint=endpoint)) as blocking:
    print(len(blocking.complete(request).text) > 0)
"""
INTERRUPTED = """
import asyncio
import os
task = asyncio.ensure_future(troupe.complete(request))
await asyncio.sleep(0)
task.cancel()
try:
    await task
except asyncio.CancelledError:
    print("cancelled")
"""


@pytest.mark.slow
@pytest.mark.sockets
@needs("nbclient", "ipykernel", "nbformat")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_notebook(provider, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("OPENAI_BASE_URL", provider)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    opening, call, closing = [program for program, _ in section("Jupyter")]
    cells = [opening, call, SYNC_CELL, INTERRUPTED, closing]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(it) for it in cells])
    client = nbclient.NotebookClient(book, timeout=60, kernel_name="python3")
    asyncio.run(client.async_execute())
    texts = ["".join(it.get("text", "") for it in cell.outputs) for cell in book.cells]
    assert texts[1].strip()
    assert texts[2:4] == ["True\n", "cancelled\n"]
