"""`callsheet run --json`: one object on stdout however a run ends, and its schema."""

import errno
import json
import os
import re
import signal
import time
from pathlib import Path

import attrs
import msgspec
import pytest
from bulk_rows import write_input
from callsheet_process import run_callsheet
from click.testing import CliRunner
from provider_process import provider_process

from callsheet.actors.typed.matching import matches_schema
from callsheet.bulk.engine.reader import ReaderActor
from callsheet.bulk.files.lines_file import LinesFile
from callsheet.cli import main
from callsheet.cli.run import job
from callsheet.cli.run.json_summary import RunSummary

pytestmark = pytest.mark.sockets

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/schemas/run-summary.schema.json").read_text())
MEMBERS = {one.name for one in attrs.fields(RunSummary)}


def test_the_document_lists_each_member_and_no_other():
    text = (ROOT / "docs/run-summary.md").read_text()
    table = text.partition("| member |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert {name.strip(" `") for row in rows for name in row.split(",")} == MEMBERS


def checked(stdout):
    """Return the summary of one line, after it was checked against the schema."""
    (line,) = stdout.splitlines()
    found = json.loads(line)
    assert set(found) == MEMBERS
    assert matches_schema(found, SCHEMA)
    assert json.loads(json.dumps(attrs.asdict(msgspec.convert(found, RunSummary)))) == found
    return msgspec.convert(found, RunSummary)


@pytest.fixture
def run(source, output):
    write_input(source, 30)

    def run(*options, source=source, output=output):
        arguments = ["run", str(source), str(output), "--json", *map(str, options)]
        result = CliRunner().invoke(main, arguments)
        assert "Traceback" not in result.output
        found = checked(result.stdout)
        assert found.exit_status == result.exit_code
        return found

    return run


def test_a_run_with_all_responses_is_done(run, quick_provider, source, output):
    found = run("--base-url", quick_provider)
    assert (found.result, found.exit_status, found.reason) == ("done", 0, None)
    assert (found.total, found.read, found.answered, found.left) == (30, 30, 30, 0)
    assert (found.input, found.output) == (str(source), str(output))
    assert found.requests == 30
    assert found.cost_usd == found.spent_usd != "0"
    assert found.latency_s.p50 <= found.latency_s.max
    assert found.provider.startswith("an OpenAI-compatible API at 127.0.0.1")
    again = run("--base-url", quick_provider)
    assert (again.answered, again.reused, again.requests) == (30, 30, 0)
    assert (again.cost_usd, again.spent_usd) == ("0", found.spent_usd)
    assert again.latency_s is None


def test_rows_that_failed_are_counted_by_kind(run, quick_provider, source, output):
    source.write_text(source.read_text().replace("gpt-4o-mini", "unknown/model") + "{no JSON\n")
    found = run("--base-url", quick_provider)
    assert found.result in {"failed", "stopped"}
    assert found.bad == 1
    assert found.errors_file == f"{output}.errors.jsonl"
    assert sum(found.errors.values()) == found.failed
    assert found.answered + found.failed + found.bad + found.left == found.total


def test_a_row_that_is_no_request_makes_it_fail(run, quick_provider, source):
    source.write_text(source.read_text() + "{no JSON\n")
    found = run("--base-url", quick_provider)
    assert (found.result, found.exit_status) == ("failed", 1)
    assert (found.answered, found.bad, found.left) == (30, 1, 0)


def test_a_run_that_the_budget_ends_is_stopped(run, quick_provider):
    found = run("--base-url", quick_provider, "--max-cost", "0.0001")
    assert (found.result, found.exit_status, found.reason) == ("stopped", 1, "unpaid")
    assert found.message.endswith("raise --max-cost and run the same command again to continue")
    assert found.max_cost_usd == "0.0001"
    assert found.left == 30 - found.answered > 0


def test_a_run_that_its_deadline_ends_is_stopped(run, quick_provider):
    found = run("--base-url", quick_provider, "--rpm", 60, "--deadline", "0.5")
    assert (found.result, found.exit_status, found.reason) == ("stopped", 1, "late")


def test_a_provider_that_refuses_the_key_stops_it(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key-of-a-test")
    with provider_process("--time-scale", "0.02", "--api-key", "right-key") as base_url:
        found = run("--base-url", base_url)
    assert (found.result, found.exit_status, found.reason) == ("stopped", 1, "unanswered")
    assert "wrong-key-of-a-test" not in found.message


def test_a_dry_run_is_an_estimate(run, quick_provider, output):
    found = run("--base-url", quick_provider, "--dry-run", "--rpm", 60)
    assert (found.result, found.exit_status) == ("estimated", 0)
    assert (found.total, found.left, found.answered) == (30, 30, 0)
    estimate = found.estimate
    assert (estimate.read, estimate.to_send, estimate.route) == (30, 30, "live")
    assert estimate.cost_usd == estimate.models[0].live_usd
    assert estimate.least_s == 30
    assert not list(output.parent.glob("out*"))


@pytest.mark.parametrize(
    ("options", "reason", "words"),
    [
        (("--max-cost", "nonsense"), "usage", "--max-cost"),
        (("--no-such-option",), "usage", "No such option"),
        (("--provider", "openai", "--route", "nowhere"), "usage", "--route"),
        (("--report", "page.txt"), "usage", "must end in .html"),
        (("--format", "xlsx"), "input", "cannot"),
        (("--max-cost", "0", "--base-url", "http://127.0.0.1:9/v1"), "refused", "--max-cost"),
    ],
)
def test_a_run_that_is_refused_says_why(run, options, reason, words):
    found = run(*options)
    assert (found.result, found.exit_status, found.reason) == ("refused", 2, reason)
    assert words in found.message
    assert (found.requests, found.cost_usd) == (0, "0")


def test_an_input_or_output_that_cannot_be_used_is_a_refusal(run, tmp_path, output):
    assert run(source=tmp_path / "nothing.jsonl").reason == "input"
    assert run(output=tmp_path / "no-folder" / "out.jsonl").reason == "refused"
    output.write_text("of another program\n")
    assert run().reason == "refused"
    assert run("--dry-run", source=tmp_path / "nothing.jsonl").reason == "input"
    assert run("--dry-run", "--route", "batch", "--base-url", "http://x/v1").reason == "refused"


def test_a_full_disk_stops_it(run, quick_provider, monkeypatch):
    append = LinesFile.append

    def full(file, text):
        if file.size + len(text) > 3000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(file, text)

    monkeypatch.setattr(LinesFile, "append", full)
    found = run("--base-url", quick_provider)
    assert (found.result, found.exit_status, found.reason) == ("stopped", 1, "disk")
    assert "free space on the disk" in found.message


def test_a_damaged_store_is_a_refusal(run, quick_provider, output):
    run("--base-url", quick_provider)
    output.with_name("out.jsonl.callsheet").write_bytes(b"")
    found = run("--base-url", quick_provider)
    assert (found.result, found.reason) == ("refused", "refused")


@pytest.mark.usefixtures("without_plots")
def test_what_else_fails_is_a_problem(run, quick_provider):
    found = run("--base-url", quick_provider, "--events", "/dev/full", "--report", "/dev/full")
    assert (found.result, found.exit_status, found.answered) == ("done", 1, 30)
    events, page = found.problems
    assert events.startswith("no more events are written to /dev/full: No space left on device")
    assert page.startswith("--report: cannot write /dev/full: No space left on device")


def test_events_have_the_members_that_the_document_lists(run, quick_provider, tmp_path):
    """people.md, 8: the JSON of --events had no documented schema."""
    text = (ROOT / "docs/run-summary.md").read_text().partition("| event | members |")[2]
    listed = {}
    for line in text.partition("\n\n")[0].splitlines()[2:]:
        names, members = line.strip("| ").split(" | ", 1)
        for name in re.findall(r"`(\w+)`", names):
            listed[name] = set(re.findall(r"`(\w+)`", members))
    run("--base-url", quick_provider, "--events", tmp_path / "events", "--rpm", 6000)
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert {"start", "limits", "row", "end"} <= {event["event"] for event in events}
    for event in events:
        members = set(event) - {"event", "at"}
        if event["event"] == "limits":
            members |= {name for limit in event["limits"] for name in limit} | {"member"}
            assert members - listed["limits"] == set()
        else:
            assert members == listed[event["event"]]


def counts(found):
    return (found.matched, found.again, found.changed, found.new)


def test_it_counts_the_rows_that_are_new_and_those_that_have_changed(run, quick_provider, source):
    options = ("--base-url", quick_provider)
    assert counts(run(*options, "--dry-run")) == (0, 0, 0, 30)
    assert counts(run(*options)) == (None, None, None, None)  # nothing to compare with
    text = source.read_text().replace("Say 7.", "Say seven.")
    source.write_text(text + text.splitlines()[0].replace("r-1", "r-31").replace("1.", "31."))
    for more in (("--dry-run",), ()):
        assert counts(run(*options, *more)) == (29, 0, 1, 1)
    assert counts(run(*options)) == (31, 0, 0, 0)


def test_a_run_that_asks_for_yes_says_how_many_rows_have_changed(run, quick_provider, source):
    run("--base-url", quick_provider)
    source.write_text(source.read_text().replace("Say", "Sing"))
    found = run("--base-url", quick_provider)
    assert (found.result, found.reason) == ("refused", "refused")
    assert counts(found) == (0, 0, 30, 0)
    assert "pay again with --yes" in found.message


async def broken(*_):
    raise LookupError("a bug")


def test_a_crash_has_its_result(run, quick_provider, monkeypatch):
    monkeypatch.setattr(ReaderActor, "_pass_on", broken)
    found = run("--base-url", quick_provider)
    assert (found.result, found.exit_status, found.reason) == ("crashed", 1, "crashed")
    assert "LookupError: a bug" in found.message
    assert (found.total, found.left) == (30, 30)


def test_a_crash_outside_of_the_run_has_its_result(source, output, monkeypatch):
    write_input(source, 3)
    monkeypatch.setattr(job, "_with_provider", broken)
    result = CliRunner().invoke(main, ["run", str(source), str(output), "--json"])
    found = checked(result.stdout)
    assert isinstance(result.exception, LookupError)  # `callsheet.cli.entry` reports it
    assert (found.result, found.exit_status, found.reason) == ("crashed", 1, "crashed")
    assert found.message == "LookupError: a bug"


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_is_an_interruption(start, quick_provider, source, output, stats, *, signals):
    write_input(source, 300)
    before = stats(quick_provider)["requests"]
    process = start(source, output, "--base-url", quick_provider, "--rpm", "300", "--json")
    until = time.monotonic() + 60
    while stats(quick_provider)["requests"] < before + 3:
        assert time.monotonic() < until
        time.sleep(0.02)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    stdout, told = process.communicate(timeout=60)
    found = checked(stdout)
    assert process.returncode == found.exit_status == 130, told
    assert (found.result, found.reason) == ("interrupted", "drained")
    assert 0 < found.answered < 300


def test_a_summary_that_cannot_be_written_is_reported(source, output, quick_provider):
    write_input(source, 3)
    arguments = ("run", source, output, "--json", "--base-url", quick_provider)
    with Path("/dev/full").open("w") as full:
        ended = run_callsheet(*arguments, stdout=full)
    assert ended.returncode == 1
    assert "Error: cannot write the output: No space left on device" in ended.stderr
    assert output.read_text().count("\n") == 3
