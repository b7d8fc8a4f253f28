"""The built-in provider in its own process, for tests with real sockets."""

import subprocess

import httpx
import pytest
from callsheet_process import CallsheetProcess
from provider_process import provider_process

from callsheet.actors.batch_api import journal
from callsheet.bulk.report import page


@pytest.fixture(scope="session")
def quick_provider():
    """A provider that responds within some hundredths of a second."""
    with provider_process("--time-scale", "0.02") as base_url:
        yield base_url


@pytest.fixture
def source(tmp_path):
    """The path of the input."""
    return tmp_path / "in.jsonl"


@pytest.fixture
def output(tmp_path):
    """The path of OUTPUT."""
    return tmp_path / "out.jsonl"


@pytest.fixture
def journal_on_the_spot(monkeypatch):
    """Run the journal without threads, which virtual time does not wait for."""
    monkeypatch.setattr(journal, "in_worker_thread", journal.in_place)


@pytest.fixture
def without_plots(monkeypatch):
    """Write a page of `--report` as without Matplotlib: its plots take most of a second."""
    monkeypatch.setattr(page, "has_matplotlib", lambda: False)


@pytest.fixture
def stats():
    """Reads the counts of a provider."""

    def ask(base_url):
        root = base_url.removesuffix("/v1")
        # To load the certificates takes longer than all the rest.
        return httpx.get(f"{root}/callsheet/stats", trust_env=False, verify=False).json()

    return ask


@pytest.fixture
def start():
    """Starts `callsheet run` as a process of its own."""
    started = []

    def run(*arguments, **more):
        process = CallsheetProcess(
            "run", *arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
