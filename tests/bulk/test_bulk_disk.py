"""A full disk: responses that were paid for are kept as long as there is any room."""

import contextlib
import errno
import os
from pathlib import Path

import pytest
from bulk_rows import ids_of, row, stage

from callsheet.actors import StorageError
from callsheet.bulk.errors import BulkRefused, BulkStopped
from callsheet.bulk.files.lines_file import LinesFile
from callsheet.bulk.files.reserve import Reserve
from callsheet.bulk.files.store import RunStore
from callsheet.bulk.settings import Paths


def rows(count):
    return [row(number) for number in range(1, count + 1)]


def fill(store):
    """Fill the disk completely."""
    pages = store._db.number("PRAGMA page_count")
    store._db.execute(f"PRAGMA max_page_count = {pages}")


@pytest.fixture
def stores(monkeypatch):
    opened = []
    init = RunStore.__init__

    def note(self, *args, **more):
        init(self, *args, **more)
        opened.append(self)

    monkeypatch.setattr(RunStore, "__init__", note)
    return opened


async def test_what_was_sent_is_kept_in_the_reserve(autojump_clock, tmp_path, stores, monkeypatch):
    output = tmp_path / "out.jsonl"
    give_back = Reserve.give_back

    def make_room(reserve):
        if was_there := give_back(reserve):
            with contextlib.suppress(StorageError):  # it is closed
                stores[0]._db.execute("PRAGMA max_page_count = 1000000")
        return was_there

    monkeypatch.setattr(Reserve, "give_back", make_room)
    async with stage() as it:
        with pytest.raises(BulkStopped, match="full; free space on the disk") as caught:
            async with it.open(rows(220), output) as run:
                async for result in run:
                    if result.number == 20:
                        fill(stores[0])
        assert caught.value.ending.kind == "disk"
        assert len(ids_of(output)) == it.requests < 220
        assert not Paths(output).reserve.exists()
        await it.run(rows(220), output)
        assert it.requests == 220
    assert len(ids_of(output)) == 220


async def test_without_any_room_the_run_ends_and_tells_what_is_lost(
    autojump_clock, tmp_path, stores
):
    output = tmp_path / "out.jsonl"
    async with stage() as it:
        with pytest.raises(BulkStopped) as caught:
            async with it.open(rows(220), output) as run:
                async for result in run:
                    if result.number == 20:
                        fill(stores[0])
        assert caught.value.ending.kind == "disk"
        kept = len(ids_of(output))
        async with it.open(rows(220), output) as again:
            assert it.requests - kept <= again.lost_before <= it.requests - kept + 200
            await again.wait()
    assert len(ids_of(output)) == 220


@pytest.mark.slow
async def test_an_output_that_cannot_be_written_to_loses_nothing(
    autojump_clock, tmp_path, monkeypatch
):
    output, append = tmp_path / "out.jsonl", LinesFile.append

    def full(file, text):
        if file.size > 15_000:
            raise OSError(28, "No space left on device")
        append(file, text)

    monkeypatch.setattr(LinesFile, "append", full)
    async with stage() as it:
        with pytest.raises(BulkStopped, match=r"out\.jsonl cannot be written: No space left"):
            await it.run(rows(220), output)
        sent = it.requests
        assert sent < 220
        monkeypatch.setattr(LinesFile, "append", append)
        await it.run(rows(220), output)
        assert it.requests == 220
    assert ids_of(output) == [one.custom_id for one in rows(220)]


async def test_an_output_that_lacks_its_last_row_is_not_complete(
    autojump_clock, tmp_path, monkeypatch
):
    output, append = tmp_path / "out.jsonl", LinesFile.append

    def full(file, text):
        if b'"custom_id":"r-30"' in text:
            raise OSError(28, "No space left on device")
        append(file, text)

    monkeypatch.setattr(LinesFile, "append", full)
    async with stage() as it:
        with pytest.raises(BulkStopped, match=r"out\.jsonl cannot be written: No space left"):
            async with it.open(rows(30), output, keep=False) as run:
                await run.wait()
        assert not run.is_complete
        monkeypatch.setattr(LinesFile, "append", append)
        await it.run(rows(30), output)
        assert it.requests == 30
    assert ids_of(output) == [one.custom_id for one in rows(30)]


def test_a_reserve_takes_room_and_gives_it_back(tmp_path):
    reserve = Reserve(tmp_path / "reserve", 64 * 1024)
    reserve.take()
    assert (tmp_path / "reserve").stat().st_size == 64 * 1024
    assert reserve.give_back()
    assert not reserve.give_back()


async def test_a_run_without_room_for_its_reserve_is_refused(autojump_clock, tmp_path, monkeypatch):
    """It started without, and lost about a hundred rows that were paid for, at each attempt."""

    def fail(place, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))

    output = tmp_path / "out.jsonl"
    async with stage() as it:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", fail)
            with pytest.raises(BulkRefused, match=r"no 4,096 KiB can be reserved .*; make room"):
                await it.run(rows(30), output)
        assert it.requests == 0
        await it.run(rows(30), output)
    assert len(ids_of(output)) == 30
