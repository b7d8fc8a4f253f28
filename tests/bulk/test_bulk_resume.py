"""What `callsheet run` says and asks before it continues a run (issue 20, 5)."""

import csv
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import time

import pytest
from bulk_rows import lines_of
from callsheet_process import CallsheetProcess
from click.testing import CliRunner
from provider_process import provider_process

from callsheet.cli import main

pytestmark = pytest.mark.sockets

SYSTEM = ("--system", "Label it.")


@pytest.fixture(scope="module")
def provider():
    with provider_process("--time-scale", "0") as base_url:
        yield base_url


@pytest.fixture
def source(tmp_path):
    """A table of 30 reviews."""
    path = tmp_path / "in.csv"
    write(path, range(30))
    return path


def write(path, numbers, **more):
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", *more])
        for number in numbers:
            table.writerow([f"review {number} is good", *(it % number for it in more.values())])


@pytest.fixture
def requests(stats, provider):
    """Counts the requests at the provider."""
    return lambda: stats(provider)["requests"]


@pytest.fixture
def run(provider, source, output, stats):
    """Runs the command; returns its exit status, its words and the number of requests."""

    def call(*options, source=source, stdin=None, provider=provider):
        before = stats(provider)["requests"]
        arguments = ["run", source, output, "--base-url", provider, "--template", "{{ text }}"]
        arguments += ["--model", "gpt-5.4-nano", "--max-tokens", 5, *options]
        result = CliRunner().invoke(main, [str(it) for it in arguments], input=stdin)
        assert "Traceback" not in result.output
        return result.exit_code, result.output, stats(provider)["requests"] - before

    return call


@pytest.fixture(scope="module")
def first_run(provider, tmp_path_factory):
    """The folder of a first run, which many tests continue."""
    folder = tmp_path_factory.mktemp("first")
    write(folder / "in.csv", range(30))
    arguments = ["run", folder / "in.csv", folder / "out.jsonl", "--base-url", provider]
    arguments += ["--template", "{{ text }}", "--model", "gpt-5.4-nano", "--max-tokens", 5, *SYSTEM]
    assert CliRunner().invoke(main, [str(it) for it in arguments]).exit_code == 0
    return folder


@pytest.fixture
def has_run(first_run, output):
    """The files of the first run, copied."""
    for path in first_run.glob("out*"):
        shutil.copy(path, output.parent)


def test_a_first_run_asks_nothing(run):
    status, words, sent = run(*SYSTEM)
    assert (status, sent) == (0, 30)
    assert "match" not in words


@pytest.mark.usefixtures("has_run")
def test_a_finished_run_is_told_as_such(run):
    status, words, sent = run(*SYSTEM)
    assert (status, sent) == (0, 0)
    assert (
        "out.jsonl has 30 responses: 30 match rows of INPUT.\nNo rows need to be sent.\n" in words
    )


@pytest.mark.usefixtures("has_run")
def test_a_forgotten_system_message_does_not_pay_for_everything_again(run, output):
    """files.md 7: a resume without --system paid for each row again."""
    before = output.read_bytes()
    status, words, sent = run()
    assert (status, sent) == (2, 0)
    assert output.read_bytes() == before
    assert (
        "out.jsonl has 30 responses: 0 match rows of INPUT; 30 have changed since (system" in words
    )
    assert "To send: 30 rows for about $0.0" in words
    assert words.endswith(
        "Error: this run would pay again for all 30 rows that have had a response, because they "
        "have changed (system message); undo the change, give another OUTPUT, or pay again with "
        "--yes\n"
    )
    status, words, sent = run("--yes")
    assert (status, sent) == (0, 30)
    status, _, sent = run(*SYSTEM)  # the responses to it are still in the store
    assert (status, sent) == (0, 0)


@pytest.mark.usefixtures("has_run")
@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--system", "Label them."), "(system message)"),
        ((*SYSTEM, "--model", "gpt-5.4-mini"), "(model)"),
        ((*SYSTEM, "--max-tokens", 6), "(parameters)"),
        ((*SYSTEM, "--temperature", 0), "(parameters)"),
        ((*SYSTEM, "--template", "{{ text }}!"), "(prompt)"),
        ((*SYSTEM, "--schema", "label: good|bad"), "(schema)"),
        (("--model", "gpt-5.4-mini"), "(system message, model)"),
        ((*SYSTEM, "--map", "id=text"), "(id)"),
    ],
)
def test_the_reason_why_rows_have_changed_is_told(run, options, why):
    status, words, sent = run(*options)
    assert (status, sent) == (2, 0)
    assert f"0 match rows of INPUT; 30 have changed since {why}." in words
    assert f"because they have changed {why};" in words
    status, words, sent = run(*options, "--dry-run")
    assert (status, sent) == (0, 0)
    assert (
        f"out.jsonl has 30 responses: 0 match rows of INPUT; 30 have changed since {why}.\n"
        in words
    )


@pytest.mark.usefixtures("has_run")
def test_new_and_removed_rows_are_no_changes(run, source):
    write(source, [*range(100, 150), *range(20)])
    status, words, sent = run(*SYSTEM)
    assert (status, sent) == (0, 50)
    assert "30 responses: 20 match rows of INPUT; 10 have changed since (prompt)." in words
    assert "To send: 50 rows for about $0.0" in words
    assert ": 10 changed, 40 new.\n" in words


def test_a_row_with_another_id_and_another_text_is_new_and_its_response_is_counted(run, source):
    write(source, range(30), id="k%d")
    run(*SYSTEM)
    write(source, [*range(25), *range(100, 103)], id="k%d")
    status, words, sent = run(*SYSTEM)
    assert (status, sent) == (0, 3)
    assert "30 responses: 25 match rows of INPUT; 5 of rows that INPUT does not have.\n" in words
    assert ": 3 new.\n" in words


def test_a_few_changed_rows_need_no_answer(run, source):
    write(source, range(30), id="k%d")
    run(*SYSTEM)
    text = source.read_text().replace("review 7 is good", "review 7 is bad")
    source.write_text(text + "one more,k99\n")
    status, words, sent = run(*SYSTEM)
    assert (status, sent) == (0, 2)
    assert "30 responses: 29 match rows of INPUT; 1 has changed since (prompt).\n" in words
    assert "To send: 2 rows " in words
    assert ": 1 changed, 1 new.\n" in words


@pytest.mark.usefixtures("has_run")
def test_a_cost_that_is_not_known_is_told(run):
    _, words, _ = run(*SYSTEM, "--model", "of-my-own")
    assert "To send: 30 rows at an unknown cost (no price of of-my-own is known): 30 ch" in words


@pytest.mark.usefixtures("has_run")
def test_responses_of_another_provider_are_refused_before_that(run, output, stats):
    with provider_process("--time-scale", "0") as other:
        status, words, sent = run(provider=other)
        assert (status, sent) == (2, 0)
        assert "match" not in words
        assert "--other-provider" in words
        status, words, sent = run("--other-provider", provider=other)
        assert (status, sent) == (2, 0)
        assert "30 have changed since (system message)" in words


@pytest.mark.usefixtures("has_run")
def test_the_first_rows_of_a_pipe_are_compared(run, source, stats):
    status, words, sent = run(*SYSTEM, source="-", stdin=source.read_bytes())
    assert (status, sent) == (0, 0)
    assert "INPUT can be read only once, so only its first 30 rows were compared" in words
    assert "with them: 30 have a response." in words
    status, words, sent = run(source="-", stdin=source.read_bytes())
    assert (status, sent) == (2, 0)
    assert "for all 30 rows among the first 30 that have had a response, because" in words
    assert run("--yes", source="-", stdin=source.read_bytes())[::2] == (0, 30)


@pytest.mark.usefixtures("has_run")
def test_an_input_that_is_gone_is_told_as_for_a_first_run(run, source):
    status, words, sent = run(*SYSTEM, source=source.with_name("other.csv"))
    assert (status, sent) == (2, 0)
    assert words.endswith("other.csv: No such file or directory; check the path\n")


@pytest.mark.usefixtures("has_run")
def test_a_slow_pipe_is_not_waited_for(run, start, output, provider, source):
    options = ("--template", "{{ text }}", "--model", "gpt-5.4-nano", "--max-tokens", 5)
    started = start("-", output, "--base-url", provider, *options, *SYSTEM, stdin=subprocess.PIPE)
    lines = source.read_text().splitlines(keepends=True)
    started.stdin.write("".join(lines[:4]))
    started.stdin.flush()
    words = iter(started.stderr.readline, "")
    assert any("its first 3 rows were compared" in line for line in words)
    started.stdin.write("".join(lines[4:]))
    started.stdin.close()
    assert any("30 of 30 rows" in line for line in words)
    started.stdin = None  # it is closed
    assert started.wait() == 0
    assert [line["custom_id"] for line in lines_of(output)] == [f"row-{n}" for n in range(1, 31)]


# -------------------------------------------------------------------- on a terminal


@pytest.fixture
def asked(has_run, source, output, provider):
    """Runs the command on a terminal up to the question; returns the process and its ends."""
    controller, terminal = pty.openpty()
    arguments = [source, output, "--base-url", provider, "--template", "{{ text }}"]
    process = CallsheetProcess(
        *("run", *arguments, "--model", "gpt-5.4-nano", "--max-tokens", "5"),
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = b""

    def read_until(words=None):
        nonlocal shown
        until = time.monotonic() + 30
        while words is None or words not in shown:
            ready, _, _ = select.select([controller], [], [], max(0, until - time.monotonic()))
            assert ready, shown[-2000:]
            try:
                shown += os.read(controller, 65536)
            except OSError:  # the other end is closed
                break
        return shown

    read_until(b"? [y/N] ")
    yield process, controller, read_until
    if process.poll() is None:
        process.kill()
    process.wait()
    os.close(controller)


@pytest.mark.parametrize(
    ("typed", "status", "words"),
    [
        (b"n\n", 2, b"Error: nothing was sent; to keep these responses, give another OUTPUT"),
        (b"\n", 2, b"Error: nothing was sent"),
        (b"\x04", 2, b"\r\nError: nothing was sent"),  # Ctrl-D
        (None, 130, b"Nothing was sent.\r\nInterrupted."),  # Ctrl-C
    ],
)
def test_no_answer_but_yes_spends_anything(asked, requests, typed, status, words):
    process, controller, read_until = asked
    before = requests()
    if typed is None:
        process.send_signal(signal.SIGINT)
    else:
        os.write(controller, typed)
    assert words in read_until()
    assert process.wait() == status
    assert requests() == before


def test_yes_sends_the_rows(asked, requests, output):
    process, controller, read_until = asked
    before = requests()
    os.write(controller, b"y\n")
    shown = read_until()
    assert process.wait() == 0
    assert b"This run would pay again for all 30 rows that have had a response.\r\n" in shown
    assert b"Send them for about $0.0" in shown
    assert requests() == before + 30
    assert (
        json.loads(output.read_bytes().splitlines()[0])["callsheet"]["usage"]["input_tokens"] < 12
    )
