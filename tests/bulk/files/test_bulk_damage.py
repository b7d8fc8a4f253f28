"""A damaged run store: the run ends with one line, before anything is sent."""

import sqlite3

import pytest
from bulk_rows import ids_of, rows, stage, write_input
from click.testing import CliRunner

from callsheet.actors import DamagedFile
from callsheet.actors.storage.checksums import add_checksums
from callsheet.bulk.errors import BulkRefused, BulkStopped
from callsheet.bulk.files.archive import Archive
from callsheet.bulk.files.store import RunStore
from callsheet.bulk.settings import BulkSettings, Paths
from callsheet.cli import main

REMEDY = "move it and OUTPUT away, or give another OUTPUT"


def change_line(store, value, *, seals=True):
    """Change a line, and its checksum, too, as a faulty program would."""
    with sqlite3.connect(store) as database:
        add_checksums(database)
        database.execute(f"UPDATE responses SET line = {value} WHERE id = 3")
        if seals:
            database.execute("UPDATE responses SET crc = checksum(key, line)")
    database.close()


DAMAGE = {
    "a line that is not JSON": lambda store: change_line(store, "CAST('{\"id\":' AS BLOB)"),
    "a line that is no object": lambda store: change_line(store, "CAST('[1]' AS BLOB)"),
    "a line of another type": lambda store: change_line(store, "77"),
    "a line with another head": lambda store: change_line(store, "x'7b22'"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_a_damaged_line_ends_the_run_before_anything_is_sent(
    autojump_clock, tmp_path, damage
):
    output = tmp_path / "out.jsonl"
    store = Paths(output).store
    async with stage() as it:
        await it.run(rows(5), output, keep=True)
        damage(store)
        written = output.read_bytes()
        with pytest.raises(BulkStopped) as caught:
            await it.run(rows(8), output, keep=True)
        assert it.requests == 5
    ending = caught.value.ending
    assert ending.kind == "damaged"
    text = str(ending)
    assert text.startswith(
        f"the run store {store} cannot be used: the file is damaged (the response"
    )
    assert text.endswith(f" is not valid JSON); {REMEDY}")
    assert output.read_bytes() == written


async def test_a_line_that_has_not_its_checksum_refuses_the_run(autojump_clock, tmp_path):
    """A valid line with another text: only the checksum shows the damage."""
    output = tmp_path / "out.jsonl"
    async with stage() as it:
        await it.run(rows(5), output, keep=True)
        written = output.read_bytes()
        change_line(Paths(output).store, "replace(line, 'assistant', 'assassins')", seals=False)
        with pytest.raises(BulkRefused, match=rf"\(a stored value is not valid\); {REMEDY}"):
            await it.run(rows(8), output, keep=True)
        assert it.requests == 5
    assert output.read_bytes() == written


@pytest.mark.parametrize("method", ["find", "meet"])
async def test_damage_that_a_read_meets_ends_the_run(autojump_clock, tmp_path, monkeypatch, method):
    output = tmp_path / "out.jsonl"

    def fail(store, _):
        raise DamagedFile(store._db.name, "database disk image is malformed")

    async with stage() as it:
        await it.run(rows(1), output, keep=True)  # a new store is not searched
        monkeypatch.setattr(RunStore, method, fail)
        with pytest.raises(BulkStopped, match=f"image is malformed; {REMEDY}") as caught:
            await it.run(rows(5), output)
        assert it.requests == 1
    assert caught.value.ending.kind == "damaged"


async def test_damage_that_a_write_meets_ends_the_run(autojump_clock, tmp_path, monkeypatch):
    output, keep = tmp_path / "out.jsonl", RunStore.keep
    written = []

    def fail(store, responses, spend):
        written.extend(responses)
        if len(written) > 20:
            raise DamagedFile(store._db.name, "database disk image is malformed")
        keep(store, written, spend)

    monkeypatch.setattr(RunStore, "keep", fail)
    async with stage() as it:
        with pytest.raises(BulkStopped, match=rf"out.jsonl.callsheet .*malformed; {REMEDY}"):
            await it.run(rows(300), output)
        assert it.requests < 300
    assert len(ids_of(output)) <= 20


def test_a_cost_that_is_no_number_refuses_the_run(tmp_path):
    output = tmp_path / "out.jsonl"
    RunStore(Paths(output).store).close()
    with sqlite3.connect(Paths(output).store) as database:
        database.execute("UPDATE spend SET cost_usd = 'x'")
    database.close()
    with pytest.raises(BulkRefused, match=rf"callsheet cannot be used: .*; {REMEDY}"):
        Archive(output, BulkSettings(), "me")


def test_a_store_that_is_a_folder_is_named(tmp_path):
    output = tmp_path / "out.jsonl"
    Paths(output).store.mkdir()
    with pytest.raises(BulkRefused, match=r"the run store .*callsheet cannot be used: it is a fo"):
        Archive(output, BulkSettings(), "me")


@pytest.mark.sockets
def test_the_command_ends_with_one_line_and_status_2(quick_provider, stats, source, output):
    write_input(source, 3)
    command = ["run", str(source), str(output), "--base-url", quick_provider]
    assert CliRunner().invoke(main, command).exit_code == 0
    write_input(source, 8)
    change_line(Paths(output).store, "x'7b22'")
    before = stats(quick_provider)["requests"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert errors == result.stderr.splitlines()[-1:]
    assert errors[-1].startswith(f"Error: the run store {Paths(output).store} cannot be used: ")
    assert errors[-1].endswith(REMEDY)
    assert "Traceback" not in result.output
    assert stats(quick_provider)["requests"] == before
