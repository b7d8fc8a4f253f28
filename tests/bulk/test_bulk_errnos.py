"""Each error of the operating system names its remedy, on each file that a run uses."""

import errno
import os
from importlib import import_module
from pathlib import Path

import pytest
from bulk_rows import write_input
from click.testing import CliRunner

from callsheet.actors.storage.remedies import (
    read_remedy,
    why_not_read,
    why_not_written,
    write_remedy,
)
from callsheet.bulk.files.lines_file import LinesFile
from callsheet.bulk.watching import event_log
from callsheet.cli import main

pytestmark = pytest.mark.sockets

WRITING = {
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space in your quota",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: "the disk is read-only; give a path on another one",
    errno.EACCES: "give yourself the permission to write there",
    errno.EPERM: "the system forbids to change it",
    errno.EMFILE: "raise the limit of open files, for example with ulimit -n 1024",
    errno.ENFILE: "close other programs",
    errno.EIO: "the disk or the connection to it failed; check it",
    errno.ESTALE: "the server of the file lost it; mount it again",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOENT: "create its folder",
    errno.ENOTDIR: "a part of it is a file",
    errno.EISDIR: "give the path of a file",
    errno.ELOOP: "its links lead in a circle",
    errno.ENOTCONN: "mount it again",
}


def failure(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", WRITING, ids=errno.errorcode.get)
def test_each_error_of_writing_has_a_remedy(number):
    assert write_remedy(failure(number)).startswith(WRITING[number]) or (
        WRITING[number] in write_remedy(failure(number))
    )
    assert why_not_written(failure(number)).startswith(f"{os.strerror(number)}; ")


def test_reading_has_remedies_of_its_own():
    assert read_remedy(failure(errno.EACCES)).endswith("chmod u+r")
    assert read_remedy(failure(errno.ENOENT)) == "check the path"
    assert read_remedy(failure(errno.ENOSPC)) is None


def test_an_error_without_a_known_remedy_is_its_reason():
    assert why_not_read(failure(errno.EDOM)) == os.strerror(errno.EDOM)
    assert why_not_written(OSError("of a library")) == "of a library"
    assert write_remedy(ValueError()) is None


@pytest.fixture
def run(quick_provider, source, output):
    write_input(source, 20)

    def run(*options, source=source, output=output):
        arguments = ["run", source, output, "--base-url", quick_provider, *options]
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert "Traceback" not in result.output
        assert "internal error" not in result.stderr
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, " ".join(result.stderr.split())

    return run


@pytest.fixture
def failing(monkeypatch):
    """Replace a function by one that fails where a path, its first argument, has a name."""

    def fail(owner, name, number, is_meant=lambda *_: True):
        original = getattr(owner, name)

        def replaced(*args, **more):
            if is_meant(*args):
                raise failure(number)
            return original(*args, **more)

        monkeypatch.setattr(owner, name, replaced)

    return fail


AMID = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE]
SOME = [  # a run does the same at each; their remedies are tested without a run
    errno.ENOSPC,
    errno.EIO,
    *(
        pytest.param(number, marks=pytest.mark.slow)
        for number in AMID
        if number not in (errno.ENOSPC, errno.EIO)
    ),
]


@pytest.mark.parametrize("number", SOME, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["append", "sync"])
def test_output_that_can_no_longer_be_written(run, output, failing, number, name):
    """files.md, 7: an error of the disk said "make room on the disk"."""
    failing(LinesFile, name, number)
    status, told = run()
    assert status == 1
    why = f"{output} cannot be written: {os.strerror(number)}; "
    assert f"Error: {why}" in told
    assert WRITING[number] in told
    assert told.endswith("run the same command again to continue")
    assert ("free space on the disk" in told) == (number == errno.ENOSPC)


@pytest.mark.parametrize("number", SOME, ids=errno.errorcode.get)
def test_an_errors_file_that_cannot_be_written(run, source, failing, number):
    source.write_text("{no JSON\n" + source.read_text())
    failing(LinesFile, "append", number, lambda file, _: file.path.name.endswith("errors.jsonl"))
    status, told = run()
    assert status == 1
    assert WRITING[number] in told


@pytest.mark.parametrize("number", AMID, ids=errno.errorcode.get)
def test_a_reserve_that_cannot_be_written(run, failing, number):
    failing(Path, "write_bytes", number, lambda path, _: path.name.endswith("-reserve"))
    status, told = run()
    assert status == 2
    expected = "make room for 4,096 KiB" if number == errno.ENOSPC else WRITING[number]
    assert expected in told


@pytest.mark.parametrize("number", SOME, ids=errno.errorcode.get)
def test_a_page_that_cannot_be_written(run, tmp_path, failing, number):
    failing(import_module("callsheet.cli.run.report"), "write_report", number)
    status, told = run("--report", tmp_path / "page.html")
    assert status == 1
    assert f"--report: cannot write {tmp_path}/page.html: {os.strerror(number)}; " in told
    assert WRITING[number] in told


@pytest.mark.parametrize("number", SOME, ids=errno.errorcode.get)
def test_events_that_can_no_longer_be_written(run, tmp_path, monkeypatch, number):
    class Broken:
        closed = False

        def write(self, _):
            raise failure(number)

        def flush(self):
            pass

        def close(self):
            self.closed = True

    opened = Path.open
    monkeypatch.setattr(
        event_log.Path,
        "open",
        lambda path, *more, **named: (
            Broken() if path.name == "events" and "ab" in more else opened(path, *more, **named)
        ),
    )
    status, told = run("--events", tmp_path / "events")
    assert status == 0
    assert f"no more events are written to {tmp_path}/events: {os.strerror(number)}; " in told
    assert WRITING[number] in told


@pytest.fixture
def places(tmp_path):
    """Paths that no file can have: {number of the error: path}."""
    (tmp_path / "loop.html").symlink_to("loop.html")
    (tmp_path / "plain").write_text("of another program\n")
    return {
        errno.ELOOP: tmp_path / "loop.html",
        errno.ENAMETOOLONG: tmp_path / f"{'n' * 300}.html",
        errno.ENOTDIR: tmp_path / "plain" / "x.html",
    }


PATHS = [errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR]


@pytest.mark.parametrize("number", PATHS, ids=errno.errorcode.get)
@pytest.mark.parametrize("option", ["--events", "--report", "--ledger"])
def test_paths_that_no_file_can_have_are_refused_by_name(run, places, option, number, output):
    """A circle of links and a long name were internal errors."""
    status, told = run(option, places[number])
    assert status == 2
    assert f"Error: {option}: cannot write {places[number]}: {os.strerror(number)}; " in told
    assert WRITING[number] in told
    assert not list(output.parent.glob("out*"))


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize("number", PATHS, ids=errno.errorcode.get)
def test_an_output_that_no_file_can_be_is_refused(run, places, number, dry):
    status, told = run(*dry, output=places[number])
    assert status == 2
    assert f"cannot write {places[number]}: {os.strerror(number)}; " in told
    assert WRITING[number] in told


def test_names_beside_output_may_be_too_long(run, tmp_path):
    status, told = run(output=tmp_path / ("n" * 250), source=tmp_path / "in.jsonl")
    assert status == 2
    assert "File name too long; give a shorter name" in told


@pytest.mark.parametrize("number", [errno.ELOOP, errno.ENAMETOOLONG], ids=errno.errorcode.get)
def test_an_input_that_no_file_can_be_is_refused_with_files_beside(run, places, tmp_path, number):
    status, told = run("--events", tmp_path / "events", source=places[number])
    assert status == 2
    assert f"Error: cannot read {places[number]}: {os.strerror(number)}; " in told


@pytest.mark.parametrize("option", ["--limits", "--prices", "--template", "--system", "--schema"])
def test_a_file_of_an_option_that_cannot_be_read(run, places, option):
    loop = places[errno.ELOOP]
    status, told = run(option, loop if option in {"--limits", "--prices"} else f"@{loop}")
    assert status == 2
    assert "its links lead in a circle; give the path of the file itself" in told


@pytest.mark.parametrize("suffix", [".errors.jsonl", ".callsheet", ".callsheet-reserve"])
def test_a_folder_in_place_of_a_file_beside_output_is_named(run, output, suffix):
    output.with_name(output.name + suffix).mkdir()
    status, told = run()
    assert status == 2
    assert f"{output}{suffix} " in told
    assert "Is a directory; " in told or "it is a folder; " in told


def test_a_page_that_could_not_be_written_is_refused_before_the_run(run, tmp_path, output):
    place = tmp_path / "page.html"
    place.mkdir()
    status, _ = run("--report", place)
    assert status == 2
    (tmp_path / "empty.html").touch()
    assert run("--report", tmp_path / "no.txt")[0] == 2
    assert not output.exists()
    assert run("--report", tmp_path / "empty.html", "--dry-run")[0] == 0
    assert (tmp_path / "empty.html").exists()
    assert run("--report", tmp_path / "new.html", "--dry-run")[0] == 0
    assert not (tmp_path / "new.html").exists()
