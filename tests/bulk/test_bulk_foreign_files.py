"""The files of a run are its own: others are left alone, and none is two things (issue 20, 6)."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bulk_rows import ids_of, lines_of, write_input
from callsheet_process import run_callsheet
from click.testing import CliRunner
from provider_process import provider_process

from callsheet.bulk.reading.errors import InputChanged
from callsheet.bulk.reading.opening import open_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.cli import files, main
from callsheet.cli.run import resume

pytestmark = pytest.mark.sockets


@pytest.fixture(scope="module")
def provider():
    with provider_process("--time-scale", "0") as base_url:
        yield base_url


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    write_input(path, 5)
    return path


@pytest.fixture
def run(provider, source, output):
    """Runs the command; returns its exit status and its words."""

    def call(*options, source=source, output=output, stdin=None):
        arguments = ["run", source, output, "--base-url", provider, *options]
        result = CliRunner().invoke(main, [str(it) for it in arguments], input=stdin)
        assert "Traceback" not in result.output
        return result.exit_code, result.output

    return call


@pytest.fixture
def run_process(provider, source, output):
    """Runs the command as a process, whose streams can be redirected."""

    def call(*options, source=source, output=output, **more):
        given = {"stdin": subprocess.DEVNULL} | more
        ended = run_callsheet("run", source, output, "--base-url", provider, *options, **given)
        return ended.returncode, ended.stderr

    return call


# -------------------------------------------------------------------- files of others


TEXT = "Once upon a time\n"


@pytest.mark.parametrize("mode", ["plain", "--unordered", "table"])
def test_a_file_of_others_beside_output_is_left_alone(run, tmp_path, mode):
    """files.md 7: a file at OUTPUT.errors.jsonl was deleted without a word."""
    output = tmp_path / ("out.csv" if mode == "table" else "out.jsonl")
    options = (mode,) if mode.startswith("--") else ()
    errors = tmp_path / f"{output.name}.errors.jsonl"
    for text in (TEXT, '{"id": "batch_req_1", "custom_id": "a"}\n', '{"id":"batch_req_mine"}\n'):
        errors.write_text(text)
        status, words = run(*options, output=output)
        assert status == 2
        assert f"Error: {errors} exists, but Callsheet did not write that file; move the" in words
        assert errors.read_text() == text
        assert not output.exists()
    errors.unlink()
    assert run(*options, output=output)[0] == 0


def test_an_errors_file_of_an_earlier_run_is_overwritten(run, source, tmp_path):
    source.write_text(source.read_text() + "{no JSON\n")
    for _ in range(2):
        assert run()[0] == 1
    errors = tmp_path / "out.jsonl.errors.jsonl"
    assert [line["callsheet"]["row"] for line in lines_of(errors)] == [6]
    errors.write_bytes(errors.read_bytes()[:30])  # half a line of a run that was killed
    assert run()[0] == 1


def test_a_pipe_at_the_place_of_the_errors_is_left_alone(run, tmp_path):
    errors = tmp_path / "out.jsonl.errors.jsonl"
    os.mkfifo(errors)
    status, words = run()
    assert status == 2
    assert f"Error: {errors} is not a regular file; move it away, or give another OUTPUT" in words
    assert errors.is_fifo()


def test_a_file_that_looks_like_a_temporary_one_is_left_alone(run, source, tmp_path):
    """A run in any order, and one of a table, write a new file in place of OUTPUT."""
    for name, options in (("out.jsonl", ["--unordered"]), ("out.parquet", [])):
        new = tmp_path / f"{name}.new"
        new.write_text(TEXT)
        write_input(source, 5)
        assert run(*options, output=tmp_path / name)[0] == 0
        write_input(source, 3)
        assert run(*options, output=tmp_path / name)[0] == 0
        assert new.read_text() == TEXT


@pytest.mark.usefixtures("without_plots")
@pytest.mark.parametrize(("option", "name"), [("--events", "log"), ("--report", "page.html")])
def test_events_and_report_are_not_written_into_a_file_of_others(
    run, tmp_path, output, option, name
):
    path = tmp_path / name
    for text in (TEXT, '{"event":"click"}\n', "<!doctype html>\n<title>Mine</title>\n"):
        path.write_text(text)
        status, words = run(option, path)
        assert status == 2
        assert f"{option}: {path} exists, but Callsheet did not write it" in words
        assert path.read_text() == text
    assert not output.exists()
    path.write_text("")
    for _ in range(2):
        assert run(option, path)[0] == 0
    if option == "--events":
        starts = [line for line in lines_of(path) if line["event"] == "start"]
        assert len(starts) == 2
        path.write_bytes(path.read_bytes() + b'{"event": "ro')  # of a run that was killed
        assert run(option, path)[0] == 0


# -------------------------------------------------------------------- paths that collide


@pytest.mark.parametrize("suffix", [".errors.jsonl", ".callsheet", ".batches"])
@pytest.mark.parametrize("way", ["path", "hard link", "symbolic link"])
def test_input_is_none_of_the_files_that_the_run_writes(run, source, tmp_path, suffix, way):
    """The errors file, given as INPUT, would be removed before it is read."""
    beside = tmp_path / f"out.jsonl{suffix}"
    source.rename(beside)
    given = beside
    if way != "path":
        given = tmp_path / "link.jsonl"
        given.hardlink_to(beside) if way == "hard link" else given.symlink_to(beside)
    before = beside.read_bytes()
    status, words = run(source=given)
    assert status == 2
    assert f"INPUT is OUTPUT{suffix}, which this run writes; copy it to another name" in words
    assert beside.read_bytes() == before


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_redirected_stream_is_none_of_the_files_that_the_run_writes(
    run_process, source, tmp_path, stream, output
):
    beside = tmp_path / "out.jsonl.errors.jsonl"
    name = "INPUT" if stream == "stdin" else stream
    with beside.open("a+") as file:
        redirected = {stream: file, "stderr": subprocess.PIPE} | {stream: file}
        given = "-" if stream == "stdin" else source
        status, words = run_process(source=given, **redirected)
    assert status == 2
    words = beside.read_text() if stream == "stderr" else words
    assert f"{name} is OUTPUT.errors.jsonl, which this run writes" in words
    assert not output.exists()


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_not_output(run_process, source, name):
    with source.open() as file:
        status, words = run_process(source=name, output=source, stdin=file)
    assert status == 2
    assert "INPUT and OUTPUT are the same file; choose another OUTPUT" in words


@pytest.mark.parametrize("option", ["--events", "--report", "--ledger"])
def test_links_that_lead_to_one_file_are_refused(run, tmp_path, option):
    """files.md 7: --ledger equal to OUTPUT was accepted, and both were written into one file."""
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "out.jsonl.errors.jsonl")  # which is not there yet
    status, words = run(option, link)
    assert status == 2
    assert f"{option}: {link} is already OUTPUT.errors.jsonl; choose another file" in words
    other = tmp_path / "folder"
    other.symlink_to(tmp_path, target_is_directory=True)
    status, words = run(option, other / "out.jsonl")
    assert status == 2
    assert "is already OUTPUT; choose another file" in words


@pytest.mark.usefixtures("without_plots")
@pytest.mark.parametrize("ignores", [True, False])
def test_names_are_compared_as_the_file_system_does(run, tmp_path, monkeypatch, ignores):
    monkeypatch.setattr(files, "_ignores_case", lambda _: ignores)
    status, words = run("--events", tmp_path / "OUT.jsonl", "--report", tmp_path / "x.html")
    assert status == (2 if ignores else 0)
    assert ("OUT.jsonl is already OUTPUT; choose another file" in words) == ignores
    assert (tmp_path / "OUT.jsonl").exists() != ignores


def test_whether_a_folder_ignores_case_is_found_by_trying(tmp_path):
    probe = tmp_path / "a"
    probe.touch()
    assert files._ignores_case(tmp_path) == (tmp_path / "A").exists()
    assert list(tmp_path.iterdir()) == [probe]


# -------------------------------------------------------------------- devices and pipes


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/null", "/dev/fd/1", "pipe"])
def test_output_must_be_a_file(run_process, tmp_path, name):
    path = tmp_path / "pipe" if name == "pipe" else Path(name)
    if name == "pipe":
        os.mkfifo(path)
    into = tmp_path / "redirected"
    with into.open("w") as file:
        status, words = run_process(output=path, stdout=file, cwd=tmp_path)
    assert status == 2
    assert "OUTPUT must be a file, because a run that was stopped continues in it" in words
    assert into.read_text() == ""
    assert not Path(f"{path}.callsheet").exists()


@pytest.mark.parametrize("name", [".", "/", ""])
def test_a_folder_without_a_name_is_no_output(run, name):
    status, words = run(output=name)
    assert status == 2
    assert "is a folder; give the path of a file" in words


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_events_and_report_go_to_stdout(run_process, tmp_path, name):
    into = tmp_path / "redirected"
    for option, begin in (("--events", '{"event": "start"'), ("--report", "<!doctype html>")):
        with into.open("w") as file:
            status, words = run_process(option, name, stdout=file)
        assert status == 0, words
        assert into.read_text().startswith(begin)
        assert not (tmp_path / "-").exists()


def test_events_go_to_a_pipe(start, provider, source, output, tmp_path):
    pipe = tmp_path / "events"
    os.mkfifo(pipe)
    process = start(source, output, "--base-url", provider, "--events", pipe)
    events = [json.loads(line)["event"] for line in pipe.read_text().splitlines()]
    assert (events[0], events[-1], events.count("row")) == ("start", "end", 5)
    assert process.wait() == 0


@pytest.mark.parametrize("reader", ["stalls", "leaves"])
def test_a_run_does_not_wait_for_the_reader_of_its_events(start, provider, source, output, reader):
    """A pipe holds 64 KiB, which some hundred events fill."""
    write_input(source, 600)
    pipe = source.with_name("events")
    os.mkfifo(pipe)
    process = start(source, output, "--base-url", provider, "--events", pipe)
    with pipe.open() as file:
        if reader == "leaves":
            file.readline()
            file.close()
        _, words = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"no more events are written to {pipe}: " in words
    assert len(ids_of(output)) == 600


# -------------------------------------------------------------------- an input that changes


@pytest.fixture
def changing(monkeypatch):
    """Changes the input after the run has compared its rows, and before it reads them."""

    def change(how):
        told = resume.ResumeCheck._confirm

        def confirm(self, *arguments):
            told(self, *arguments)
            how()

        monkeypatch.setattr(resume.ResumeCheck, "_confirm", confirm)

    return change


def test_an_input_that_grows_is_read_to_the_end_it_had_at_the_beginning(
    run, source, output, tmp_path, changing
):
    run()
    write_input(source, 7)
    more = tmp_path / "more.jsonl"
    write_input(more, 2, first=8)
    changing(lambda: source.write_bytes(source.read_bytes() + more.read_bytes()))
    status, words = run()
    assert status == 0
    assert "To send: 2 rows" in words
    assert "7 of 7 rows" in words
    assert "in.jsonl grew while it was read; run again for the rows that were added." in words
    assert len(ids_of(output)) == 7
    assert run()[0] == 0
    assert len(ids_of(output)) == 9


@pytest.mark.parametrize("change", ["truncated", "replaced", "edited"])
def test_an_input_that_changes_before_it_is_read_is_told(run, source, output, change, changing):
    run()
    write_input(source, 7)

    def how():
        text = source.read_bytes()
        time.sleep(0.02)
        if change == "truncated":
            os.truncate(source, len(text) // 2)
        elif change == "edited":
            source.write_bytes(text.replace(b"Say 1", b"Say 9"))
        else:
            new = source.with_name("new")
            new.write_bytes(text)
            new.replace(source)

    changing(how)
    before = output.read_bytes()
    status, words = run()
    assert status == 2
    what = "was replaced after the run began" if change == "replaced" else "was written to while"
    assert f"Error: {source} {what}" in words
    assert words.rstrip().endswith("run the same command again")
    assert output.read_bytes() == before


def test_a_file_on_standard_input_is_read_to_the_end_it_had(source, monkeypatch):
    """And from the place that the shell has left it at."""
    with source.open("r+") as file:
        os.lseek(file.fileno(), len(source.read_bytes().splitlines(keepends=True)[0]), os.SEEK_SET)
        monkeypatch.setattr(sys, "stdin", file)
        with open_rows("-", ReadSettings()) as rows:
            first = next(rows)
            with source.open("a") as more:
                more.write(source.read_text())
            found = [first, *rows]
    assert [row.custom_id for row in found] == ["r-2", "r-3", "r-4", "r-5"]


def test_a_file_on_standard_input_that_is_truncated_is_told(source, monkeypatch):
    write_input(source, 5000)
    with source.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with open_rows("-", ReadSettings()) as rows:
            next(rows)
            os.truncate(source, 1000)
            with pytest.raises(InputChanged, match="standard input was written to while"):
                list(rows)


@pytest.mark.parametrize("name", ["-", "/dev/null", "/dev/stdout", "pipe"])
def test_a_ledger_must_be_a_file(run, tmp_path, output, name):
    path = tmp_path / "pipe" if name == "pipe" else name
    os.mkfifo(tmp_path / "pipe")
    status, words = run("--ledger", path)
    assert status == 2
    assert f"--ledger must be a file, because other runs read it; {path} is not a regular" in words
    assert not output.exists()


@pytest.mark.parametrize("option", ["--events", "--report"])
def test_stdout_is_for_one_of_them(run, option):
    status, words = run("--json", option, "-")
    assert status == 2
    assert "--json writes to stdout; give --events and --report other files" in words
