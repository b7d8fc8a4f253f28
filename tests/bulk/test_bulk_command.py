"""`callsheet run` from its arguments to its exit status, through real sockets."""

import os
import signal
import subprocess
import time

import pytest
from bulk_rows import ids_of, lines_of, write_input
from click.testing import CliRunner
from provider_process import provider_process

from callsheet.cli import main

pytestmark = pytest.mark.sockets


def run(*arguments, **more):
    result = CliRunner().invoke(main, ["run", *map(str, arguments)], **more)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    write_input(path, 30)
    return path


def test_a_file_of_requests_becomes_a_file_of_answers(quick_provider, source, output):
    result = run(source, output, "--base-url", quick_provider)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "30 of 30 rows in " in result.stderr
    assert "30 responses" in result.stderr
    assert ids_of(output) == [f"r-{number}" for number in range(1, 31)]


def test_the_same_command_again_sends_nothing(quick_provider, source, output, stats):
    run(source, output, "--base-url", quick_provider)
    before = stats(quick_provider)["requests"]
    result = run(source, output, "--base-url", quick_provider)
    assert "0 responses, 30 from earlier runs" in result.stderr
    assert stats(quick_provider)["requests"] == before


def test_a_dry_run_estimates_the_run_and_sends_nothing(quick_provider, source, output, stats):
    before = stats(quick_provider)["requests"]
    same = source.read_text().splitlines()[0].replace("r-1", "r-0")
    source.write_text(source.read_text() + same + "\n{no JSON\n")
    result = run(source, output, "--base-url", quick_provider, "--dry-run", "--rpm", 60)
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    assert "gpt-4o-mini 31 " in words
    assert "Rows: 32, of which 31 would be sent, 0 have a response already, and 1 cannot" in words
    assert "Duplicates: 1 (the same request as an earlier row). With --cacheable" in words
    assert "The first row that cannot be read is row 32" in words
    assert "Time: at least 31.00 s" in words
    assert "Route: live" in words
    assert stats(quick_provider)["requests"] == before
    assert not list(output.parent.glob("out*"))


def dry(source, output, *options):
    nowhere = ("--base-url", "http://127.0.0.1:9/v1", "--other-provider")
    result = run(source, output, *nowhere, "--dry-run", *options)
    assert result.exit_code == 0, result.stderr
    return " ".join(result.stdout.split())


def test_a_dry_run_shows_a_row_for_each_reason_why_rows_cannot_be_read(tmp_path, output):
    source = tmp_path / "reviews.csv"
    source.write_text("id,text\n1,a\n1,b\n2,\n2,c\n1,d\n3,\n4,e\n")
    words = dry(
        source,
        output.with_name("labels.csv"),
        "--template",
        "{{ text }}",
        "--model",
        "gpt-5.4-nano",
    )
    assert "The first row that cannot be read is row 2: row 1 has the id '1' already" in words
    assert "2 of the others are like row 3: the prompt is empty" in words
    assert words.count("row 1 has the id") == 1


def test_a_dry_run_prints_the_brackets_of_a_model(source, output):
    source.write_text('{"prompt": "Say it.", "model": "mine[/pro]"}\n')
    words = dry(source, output)
    assert "mine[/pro] 1 " in words


def test_a_dry_run_reports_an_insufficient_budget_and_time(source, output):
    words = dry(source, output, "--max-cost", "5", "--deadline", "3600", "--rpm", "60")
    assert "Cost: about $0.000400." in words
    assert "would stop the run" not in words
    words = dry(source, output, "--max-cost", "0.0001", "--deadline", "20", "--rpm", "60")
    assert "--max-cost 0.0001 would stop the run before its last row." in words
    assert "--deadline 20 would stop the run before its last row." in words
    at_openai = ("--provider", "openai", "--route", "batch")
    assert "Cost: about $0.000200." in dry(source, output, *at_openai)


def test_a_dry_run_prices_the_routes_that_the_vendor_offers(source, output):
    """money.md 10, 12: one price for all routes, and an estimate for batches that no one takes."""
    words = dry(source, output)
    assert "rows in out live pack" in words
    assert "Route: live; with a --deadline of an hour" in words
    words = dry(source, output, "--deadline", "86400")
    assert "Route: live, because Callsheet supports no Batch API of an OpenAI-comp" in words
    words = dry(source, output, "--provider", "openai", "--deadline", "86400")
    assert "rows in out live batch flex pack" in words
    assert "Cost: about $0.000200." in words
    assert "Route: batch, the cheapest that meets the deadline." in words
    options = ("--base-url", "http://127.0.0.1:9/v1", "--dry-run", "--route", "batch")
    result = run(source, output, *options)
    assert result.exit_code == 2
    assert "Error: Callsheet supports no Batch API of an OpenAI-compatible API" in result.stderr
    assert not result.stdout


def test_a_dry_run_counts_what_was_spent_before(quick_provider, source, output):
    run(source, output, "--base-url", quick_provider)
    write_input(source, 60)
    assert "Cost: about $0.000400, in addition to $0.000400 spent." in dry(source, output)


def test_a_dry_run_takes_responses_to_be_as_long_as_those_of_earlier_runs(
    quick_provider, source, output
):
    run(source, output, "--base-url", quick_provider)
    usages = [line["callsheet"]["usage"]["output_tokens"] for line in lines_of(output)]
    mean = sum(usages) / 30
    source.write_text(source.read_text().replace("Say", "Tell").replace("20}", "200}"))
    words = dry(source, output).split()
    assert words[words.index("gpt-4o-mini") + 3] == f"{30 * int(mean):,}"


def test_money_that_cannot_be_counted_is_not_spent(quick_provider, source, output, stats):
    before = stats(quick_provider)["requests"]
    source.write_text(source.read_text().replace("gpt-4o-mini", "somebodys-own"))
    words = dry(source, output, "--max-cost", "5")
    assert "no price is known for somebodys-own (callsheet prices lists" in words
    assert "With --max-cost 5, no call of unknown price would be sent." in words
    result = run(source, output, "--base-url", quick_provider, "--max-cost", "5")
    assert result.exit_code == 2
    assert "Error: the price of somebodys-own is not known" in result.stderr
    assert "(--prices), or leave out --max-cost" in result.stderr
    assert stats(quick_provider)["requests"] == before


def test_a_bad_line_is_reported_and_sets_the_exit_status(quick_provider, source, output):
    source.write_text(source.read_text() + "{no JSON\n")
    result = run(source, output, "--base-url", quick_provider)
    assert result.exit_code == 1
    assert f"1 row failed, listed in {output}.errors.jsonl with the reason." in result.stderr
    (line,) = lines_of(output.with_name("out.jsonl.errors.jsonl"))
    assert line["callsheet"]["row"] == 31


def test_money_that_is_spent_ends_it_and_the_exit_status_tells(quick_provider, source, output):
    result = run(source, output, "--base-url", quick_provider, "--max-cost", "0.0001")
    assert result.exit_code == 1
    assert "Error: the next call may cost up to $" in result.stderr
    spent = sum(line["callsheet"]["cost_usd"] for line in lines_of(output))
    assert 0 < spent <= 0.0001
    again = run(source, output, "--base-url", quick_provider, "--max-cost", "1")
    assert again.exit_code == 0


def refused(result, *words):
    assert result.exit_code == 2
    for word in words:
        assert word in result.output
    return True


def test_what_cannot_be_written_is_refused_before_anything_is_asked(
    quick_provider, source, tmp_path, stats
):
    before = stats(quick_provider)["requests"]
    base = ("--base-url", quick_provider)
    assert refused(run(source, tmp_path, *base), "is a folder; give the path of a file")
    assert refused(run(source, tmp_path / "no" / "out", *base), "there is no folder")
    assert refused(run(source, source, *base), "are the same file")
    assert refused(run(source, "-", *base), "OUTPUT must be a file")
    assert refused(run(source, os.devnull, *base), "is not a regular file")
    foreign = tmp_path / "novel.txt"
    foreign.write_text("Once upon a time\n")
    assert refused(run(source, foreign, *base), "Callsheet did not write that file")
    assert foreign.read_text() == "Once upon a time\n"
    assert stats(quick_provider)["requests"] == before


@pytest.mark.usefixtures("without_plots")
@pytest.mark.parametrize("option", ["--events", "--report", "--ledger"])
def test_a_file_that_is_needed_otherwise_is_not_written_over(
    quick_provider, source, output, tmp_path, option
):
    before = source.read_bytes()
    link, limits = tmp_path / "link.html", tmp_path / "limits.toml"
    link.hardlink_to(source)
    limits.write_text("rpm = 60000")
    base = (source, output, "--base-url", quick_provider, "--limits", limits)
    for path, name in (
        (source, "INPUT"),
        (link, "INPUT"),
        (output, "OUTPUT"),
        (tmp_path / "no" / ".." / "out.jsonl.errors.jsonl", "OUTPUT.errors.jsonl"),
        (tmp_path / "out.jsonl.callsheet", "OUTPUT.callsheet"),
        (tmp_path / "out.jsonl.batches", "OUTPUT.batches"),
        (limits, "--limits"),
    ):
        (tmp_path / "no").mkdir(exist_ok=True)
        assert refused(run(*base, option, path), f"is already {name}; choose another file")
    assert source.read_bytes() == before
    assert not output.exists()
    if option != "--ledger":
        assert run(*base, option, os.devnull).exit_code == 0


def test_events_and_the_report_are_two_files(quick_provider, source, output, tmp_path):
    both = ("--events", tmp_path / "both", "--report", tmp_path / "both")
    assert refused(run(source, output, "--base-url", quick_provider, *both), "is already --events")


def test_an_input_that_does_not_exist_is_refused(quick_provider, tmp_path, output):
    result = run(tmp_path / "nothing.jsonl", output, "--base-url", quick_provider)
    assert refused(result, "nothing.jsonl: No such file or directory")
    assert not output.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rpm = ", "is not valid TOML"),
        ("rps = 5", "unknown member 'rps'"),
        ("rpm = -1", "rpm"),
        ('rpm = "many"', "limits.toml: rpm must be a number, not a text"),
        ("rpm = true", "rpm must be a number, not true or false"),
        ("rpm = inf", "rpm must be a number of at most"),
        ("tpm = nan", "tpm must be a number of at most"),
        ("tpm = " + "9" * 400, "tpm must be a number of at most"),
        ("tpm = " + "9" * 5000, "limits.toml cannot be read: it has a number of too many digits"),
        ("max_concurrency = 1.5", "max_concurrency must be a whole number, not a fraction"),
        ("burst_s = 2026-11-26", "burst_s must be a number, not a date or a time"),
        ("models = 5", "models must be a table, not a number"),
        ("models = [[1, 2]]", "models must be a table, not an array"),
        ("[models]\nx = 3", "the limits of x must be a table, not a number"),
        ("rpm = " + "[" * 5000, "limits.toml is nested too deeply for a limits file"),
        ("rpm = " + "{a=" * 5000, "limits.toml is nested too deeply for a limits file"),
        ("a." * 5000 + "a = 1", "unknown member 'a'"),
    ],
    ids=lambda value: value[:30],
)
def test_limits_that_make_no_sense_are_refused(source, output, tmp_path, text, words):
    limits = tmp_path / "limits.toml"
    limits.write_text(text)
    assert refused(run(source, output, "--limits", limits), "--limits", words)


def test_limits_of_a_file_hold(quick_provider, source, output, tmp_path):
    limits = tmp_path / "limits.toml"
    limits.write_text('rpm = 600\n[models."gpt-4o*"]\nrpm = 1200\n')
    began = time.monotonic()
    run(source, output, "--base-url", quick_provider, "--limits", limits)
    assert time.monotonic() - began > 1.5


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def running(start, quick_provider, source, output, stats):
    """A run of 100 rows that takes half a minute and has started."""
    write_input(source, 100)
    before = stats(quick_provider)["requests"]
    process = start(source, output, "--base-url", quick_provider, "--rpm", "150")
    wait_for(lambda: stats(quick_provider)["requests"] > before + 2)
    return process


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_an_interruption_waits_for_what_was_sent(running, output, source, quick_provider, name):
    running.send_signal(signal.Signals[name])  # no --limits file is read again
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130, told
    assert "Interrupted. Run the same command again to continue." in told
    assert "may have been billed" not in told
    assert 0 < len(ids_of(output)) < 100
    result = run(source, output, "--base-url", quick_provider)
    assert result.exit_code == 0
    assert ids_of(output) == [f"r-{number}" for number in range(1, 101)]


def test_a_second_interruption_stops_at_once_and_frees_the_server(
    start, source, output, stats, quick_provider
):
    write_input(source, 3)
    source.write_text(source.read_text().replace(', "max_tokens": 20', ""))  # then they stream
    with provider_process("--time-scale", "60") as slow_provider:  # a minute at least
        process = start(source, output, "--base-url", slow_provider)
        wait_for(lambda: stats(slow_provider)["requests"] == 3)
        process.send_signal(signal.SIGINT)
        assert "Waiting for 3 calls in flight. Press Ctrl-C again to stop now." in read_until(
            process, "Waiting"
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
        wait_for(lambda: stats(slow_provider)["working"] == 0)
        counts = stats(slow_provider)
        assert (counts["answered"], counts["streams_cut"], counts["abandoned"]) == (0, 3, 0)
    assert process.returncode == 130, told
    assert "Up to 3 calls may have been billed without a response" in told
    result = run(source, output, "--base-url", quick_provider, "--other-provider")
    assert result.exit_code == 0
    assert ids_of(output) == ["r-1", "r-2", "r-3"]


def test_a_pause_by_signal_and_two_runs_at_a_time(running, output, source, quick_provider, stats):
    running.send_signal(signal.SIGUSR1)
    line = running.stderr.readline()
    while "Paused" not in line:
        line = running.stderr.readline()
    time.sleep(0.3)
    before = stats(quick_provider)["requests"]
    result = run(source, output, "--base-url", quick_provider)
    assert refused(result, "another run is writing", "wait until it has ended")
    time.sleep(0.5)
    assert stats(quick_provider)["requests"] == before
    running.send_signal(signal.SIGUSR1)
    wait_for(lambda: stats(quick_provider)["requests"] > before)


def test_limits_are_read_again_at_a_signal(start, quick_provider, source, output, stats):
    limits = source.with_name("limits.toml")
    limits.write_text("rpm = 60")
    before = stats(quick_provider)["requests"]
    process = start(source, output, "--base-url", quick_provider, "--limits", limits)
    wait_for(lambda: stats(quick_provider)["requests"] > before)
    limits.write_text("nonsense")
    process.send_signal(signal.SIGHUP)
    assert "are unchanged" in read_until(process, "The limits")
    limits.write_text("rpm = 60000")
    process.send_signal(signal.SIGHUP)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 0, told


def read_until(process, begin):
    line = process.stderr.readline()
    while not line.startswith(begin):
        line = process.stderr.readline()
    return line


def test_standard_input_is_read(start, quick_provider, source, output):
    with source.open() as lines:
        process = start("-", output, "--base-url", quick_provider, stdin=lines)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert len(ids_of(output)) == 30
