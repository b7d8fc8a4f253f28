"""Files of others under the names of our temporary ones are refused, or left alone (L14)."""

import os

import pytest
from bulk_processes import run_here
from bulk_rows import ids_of, write_input

from callsheet.bulk.files.lines_file import new_beside
from callsheet.bulk.files.reserve import Reserve
from callsheet.bulk.settings import Paths

pytestmark = pytest.mark.sockets
NOTES = b"notes of mine\nand more\n"


@pytest.fixture
def run(quick_provider, source, tmp_path):
    write_input(source, 5)

    def run(name, *options, status=0):
        arguments = (source, tmp_path / name, "--base-url", quick_provider, *options)
        return run_here(*arguments, status=status)

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.iterdir() if path.suffix != ".callsheet"}


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("out.jsonl", "-reserve"),
        pytest.param("out.csv", "-reserve", marks=pytest.mark.slow),
        pytest.param("out.xlsx", "-reserve", marks=pytest.mark.slow),
        ("out.xlsx", "-rows"),
    ],
)
@pytest.mark.parametrize("has_run", [False, True])
def test_one_that_the_run_would_overwrite_stops_it(run, tmp_path, name, suffix, *, has_run):
    if has_run:
        run(name)
    foreign = tmp_path / f"{name}.callsheet{suffix}"
    foreign.write_bytes(NOTES)
    before = contents(tmp_path)
    told = run(name, status=2)
    assert f"{foreign} exists, but " in told
    assert "Callsheet did not write that file" in told
    assert contents(tmp_path) == before
    foreign.unlink()
    run(name)


@pytest.mark.parametrize(
    ("name", "suffix", "options"),
    [
        ("out.jsonl", "-rows", ["--no-keep"]),
        ("out.csv", "-rows", ["--no-keep"]),
        ("out.xlsx", "-new", ["--keep"]),
        ("out.jsonl", "-new", ["--unordered"]),
    ],
)
def test_one_that_the_run_has_no_need_of_stays(run, tmp_path, name, suffix, options):
    foreign = tmp_path / f"{name}.callsheet{suffix}"
    foreign.write_bytes(NOTES)
    run(name, *options)
    assert foreign.read_bytes() == NOTES
    others = {path.name for path in tmp_path.iterdir()} - {foreign.name}
    assert not [other for other in others if "-new" in other]


def test_an_unordered_output_that_is_written_anew_takes_another_name(run, tmp_path, source):
    run("out.jsonl", "--unordered")
    foreign = tmp_path / "out.jsonl.callsheet-new"
    foreign.write_bytes(NOTES)
    write_input(source, 4)
    run("out.jsonl", "--unordered")
    assert sorted(ids_of(tmp_path / "out.jsonl")) == ["r-1", "r-2", "r-3", "r-4"]
    assert foreign.read_bytes() == NOTES


def test_the_reserve_of_a_killed_run_is_ours(run, tmp_path):
    run("out.jsonl")
    reserve = Reserve(Paths(tmp_path / "out.jsonl").reserve, 4 * 1024**2)
    reserve.take()
    os.truncate(Paths(tmp_path / "out.jsonl").reserve, 1_000_000)  # killed while it was written
    run("out.jsonl")
    assert len(ids_of(tmp_path / "out.jsonl")) == 5


def test_a_new_file_gets_a_name_that_is_free(tmp_path):
    first, second = (new_beside(tmp_path / "a.csv") for _ in range(2))
    assert (first.name, second.name) == ("a.csv.callsheet-new", "a.csv.callsheet-new1")
