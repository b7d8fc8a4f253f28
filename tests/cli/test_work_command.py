"""`callsheet work`: which run it works on, how it ends, and what it says."""

import os
import signal
import subprocess
import sys
import time

import pytest
import trio
from callsheet_process import CallsheetProcess
from click.testing import CliRunner
from provider_process import provider_process
from valkey_server import valkey_server

from callsheet.actors import CallContext, Endpoint, Limits, Request, ServerUrl, TroupeSettings
from callsheet.bulk.shared.card import encode_card
from callsheet.bulk.shared.queue import QueuedRow
from callsheet.bulk.shared.valkey import ValkeyQueue
from callsheet.bulk.shared.wire import decode_end, encode_call
from callsheet.cli import main

KEY = "sk-test-1234567890"
URL_VARIABLE = "CALLSHEET_SHARED_URL"


@pytest.fixture(scope="module")
def kept_server():
    with valkey_server(appendonly="yes") as server:
        yield server


@pytest.fixture
def server(kept_server):
    kept_server.clear()
    return kept_server


def work(*arguments, status, **environ):
    """Return what the command says, run in this process."""
    given = {"OPENAI_API_KEY": None, URL_VARIABLE: None} | environ
    result = CliRunner().invoke(main, ["work", *map(str, arguments)], env=given)
    assert "Traceback" not in result.output
    assert result.exit_code == status, result.output
    return result.output


def in_queue(server, run, use, *, key=None, base_url="http://127.0.0.1:9/v1", in_flight=20):
    """Do something with the queue of a run that has a holder."""

    async def main():
        queue = ValkeyQueue(ServerUrl.parse(server.url), run)
        async with queue.open():
            endpoint = Endpoint(base_url, key, "openai")
            card = encode_card(
                TroupeSettings(endpoint=endpoint, limits=Limits(in_flight=in_flight))
            )
            assert (await queue.hold("holder:1", card, lease_s=60)).is_held
            return await use(queue)

    return trio.run(main)


async def nothing(queue):
    pass


async def join_with_a_row(queue):
    await queue.beat("worker:1", b"", [])
    await put_rows(queue, 1)


async def put_rows(queue, count=20):
    request = Request.of("Say it.", model="gpt-4o-mini", max_tokens=20)
    await queue.put(
        "holder:1",
        [
            QueuedRow(f"k{number}", encode_call(request, CallContext(f"r-{number}")))
            for number in range(count)
        ],
    )


def test_help_says_what_it_does():
    text = work("--help", status=0)
    assert "Send rows of the run RUN" in text
    assert "--until-stdin-ends" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), f"or {URL_VARIABLE} in the environment"),
        (("some-run",), "the URL of the server is missing"),
        (("http://x", "r"), "must begin with valkey://"),
        (("redis://user:secret@", "r"), "names no host"),
    ],
)
def test_a_wrong_url_is_explained(arguments, words):
    text = work(*arguments, status=2)
    assert words in text
    assert "secret" not in text


def test_a_server_that_is_away_is_an_error(tmp_path):
    text = work(f"unix://{tmp_path}/s", status=1)  # the same command may work later
    assert f"Error: the shared server unix://{tmp_path}/s cannot be used" in text
    assert "start the server, or check the URL and the network" in text


def test_without_the_extra_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "coredis.connection", None)
    text = work(f"unix://{tmp_path}/s", "--wait", status=2)
    assert "coredis is not installed; install the extra 'valkey'" in text
    assert "internal error" not in text


def test_a_server_that_keeps_nothing_is_refused():
    with valkey_server() as server:
        assert "appendonly yes" in work(server.url, status=2)


def test_the_open_runs_are_listed(server):
    assert "no run is open on unix://" in work(server.url, status=2)
    assert "there is no run that on unix://" in work(server.url, "that", status=2)
    in_queue(server, "one", join_with_a_row, key=KEY)
    in_queue(server, "two", put_rows, key=KEY)
    text = work(server.url, status=2)
    assert "2 runs are open on unix://" in text
    assert "\none: running, 1 row waits, 1 worker, written by holder:1\n" in text
    assert "\ntwo: running, 20 rows wait, 0 workers" in text


def test_a_missing_key_is_told_before_any_row_is_taken(server):
    in_queue(server, "one", put_rows, key=KEY)
    text = work(status=2, **{URL_VARIABLE: server.url})
    assert "Error: the run uses OpenAI with an API key; set OPENAI_API_KEY" in text

    async def look(queue):
        card = await queue.card()
        assert (card.waiting, card.taken) == (20, 0)

    in_queue(server, "one", look)


def test_a_folder_that_cannot_have_the_journal_is_told(server, tmp_path):
    in_queue(server, "one", put_rows)
    (tmp_path / "file").write_text("")
    text = work(server.url, "--journal", tmp_path / "file" / "x", status=2)
    assert "Error: the folder" in text
    assert "a part of it is a file and not a folder" in text


def test_a_run_that_has_ended_is_no_error(server):
    async def end(queue):
        await queue.end("holder:1", forget=True)

    in_queue(server, "one", end)
    assert "The run one has ended." in work(server.url, "one", status=0)


class Worker(CallsheetProcess):
    def __init__(self, server, folder, *more):
        environ = {**os.environ, "OPENAI_API_KEY": KEY}
        super().__init__(
            *("work", server.url, "one", "--journal", folder, *more),
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self, status):
        _, told = self.communicate(timeout=60)
        assert "Traceback" not in told
        assert self.returncode == status, told
        return told


async def read_answers(queue, count):
    """Return the answers by key, when so many have come."""
    found, after = {}, ""
    while len(found) < count:
        for answer in await queue.answers(after, 100, wait_s=5):
            after = answer.entry
            found[answer.key] = decode_end(answer.body).outcome
        await queue.stored("holder:1", [after])
    return found


def test_a_worker_answers_rows_and_drains_at_the_first_signal(server, tmp_path):
    with provider_process("--time-scale", "0.3") as base_url:
        in_queue(server, "one", put_rows, key=KEY, base_url=base_url, in_flight=5)
        worker = Worker(server, tmp_path)

        async def some(queue):
            return await read_answers(queue, 3)

        assert all(answer.text for answer in in_queue(server, "one", some).values())
        worker.send_signal(signal.SIGTERM)

        async def store(queue):
            while worker.poll() is None:
                answers = await queue.answers("", 100, wait_s=0.1)
                await queue.stored("holder:1", [answer.entry for answer in answers])

        in_queue(server, "one", store)
        told = worker.ends(130)
        assert "Working on one at unix://" in told
        assert "Press Ctrl-C again to stop now." in told

        async def look(queue):
            return await queue.card()

        card = in_queue(server, "one", look)
        assert (card.taken, dict(card.workers)) == (0, {})
        assert 0 < card.waiting < 20
        assert KEY not in server.cli("--no-raw", "HGETALL", "callsheet:run:{one}:card")


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_every_row_is_answered(server, tmp_path):
    with provider_process("--time-scale", "0.3") as base_url:

        async def put(queue):
            await put_rows(queue, 200)

        in_queue(server, "one", put, key=KEY, base_url=base_url, in_flight=10)
        doomed, other = Worker(server, tmp_path / "a"), Worker(server, tmp_path / "b")

        async def some(queue):
            await read_answers(queue, 20)

        in_queue(server, "one", some)
        doomed.kill()
        doomed.communicate()

        async def rest(queue):
            found = set()
            began = time.monotonic()
            while len(found) < 180:
                found |= set(await read_answers(queue, 1))
                await queue.hold("holder:1", b"", lease_s=60)
                assert time.monotonic() - began < 60
            card = await queue.card()
            await queue.end("holder:1", forget=True)
            return card

        card = in_queue(server, "one", rest)
        assert 0 < card.taken_over <= 20
        assert "The run has ended." in other.ends(0)


@pytest.mark.slow
def test_a_worker_ends_with_the_process_that_started_it(server, tmp_path):
    in_queue(server, "one", nothing, key=KEY)
    worker = Worker(server, tmp_path, "--wait", "--until-stdin-ends")
    time.sleep(3)
    assert worker.poll() is None
    assert "the process that started it has ended" in worker.ends(1)  # closes its stdin
