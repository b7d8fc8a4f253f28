"""An input that changes while it is read: no row is a mixture, and nothing is lost or repeated."""

import gzip
import json
import os

import pytest
from bulk_rows import ids_of, lines_of, stage, write_input

from callsheet.bulk.errors import BulkStopped
from callsheet.bulk.reading.errors import InputChanged
from callsheet.bulk.reading.opening import open_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.row import BadRow, Row

ROWS = 120


def write(path, first=1):
    """Write more bytes than one read returns."""
    write_input(path, ROWS, first=first)
    lines = [{**line, "note": "-" * 6_500} for line in lines_of(path)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def append(path):
    with path.open("ab") as file:
        file.write(b'{"custom_id": "late", "body": {}}\n')


def rewrite(path):
    text = path.read_bytes().replace(b"Say ", b"Ask ")  # of the same size
    with path.open("r+b") as file:
        file.write(text)
    later = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(later, later))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def touch(path):
    os.utime(path, ns=(1, 1))


def replace(path):
    new = path.with_name("new.jsonl")
    write(new, first=10)
    new.replace(path)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    write(path)
    return path


def grow_and_change(path):
    rewrite(path)
    append(path)


def test_what_is_appended_while_a_file_is_read_is_not_read(source):
    with open_rows(source, ReadSettings()) as rows:
        next(rows)
        append(source)
        append(source)
        assert sum(isinstance(row, Row) for row in rows) == ROWS - 1
    with open_rows(source, ReadSettings()) as rows:
        assert sum(1 for _ in rows) == ROWS + 2


def test_a_last_line_that_may_go_on_is_not_read(source):
    source.write_bytes(source.read_bytes()[:-10])
    with open_rows(source, ReadSettings()) as rows:
        next(rows)
        append(source)
        with pytest.raises(InputChanged, match="was written to"):
            list(rows)


@pytest.mark.parametrize("change", [grow_and_change, rewrite, cut, touch])
def test_nothing_is_read_on_that_was_written_to(source, change):
    found = []
    with open_rows(source, ReadSettings()) as rows:
        found += [next(rows) for _ in range(5)]
        change(source)
        with pytest.raises(InputChanged, match=r"in\.jsonl was written to while it was read"):
            found.extend(rows)
    assert 5 < len(found) < ROWS
    assert not any(isinstance(row, BadRow) for row in found)
    prompts = [row.request.messages[0].content for row in found]
    assert prompts == [f"Say {number}." for number in range(1, len(found) + 1)]


def test_a_file_that_was_replaced_is_read_to_its_end_and_reported(source):
    found = []
    with open_rows(source, ReadSettings()) as rows:
        next(rows)
        replace(source)
        with pytest.raises(InputChanged, match="was replaced"):
            found.extend(rows)
    assert [row.custom_id for row in found] == [f"r-{number}" for number in range(2, ROWS + 1)]


def test_a_file_that_is_taken_away_was_read(source):
    with open_rows(source, ReadSettings()) as rows:
        next(rows)
        source.unlink()
        assert sum(1 for _ in rows) == ROWS - 1


def test_the_file_beneath_gzip_is_watched(tmp_path, source):
    packed = tmp_path / "in.jsonl.gz"
    packed.write_bytes(gzip.compress(source.read_bytes(), compresslevel=0))
    with open_rows(packed, ReadSettings()) as rows:
        next(rows)
        append(packed)
        with pytest.raises(InputChanged):
            list(rows)


def test_parquet_is_watched(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "in.parquet"
    prompts = [f"Say {number}." for number in range(1000)]
    parquet.write_table(arrow.table({"prompt": prompts}), path, row_group_size=100)
    with open_rows(path, ReadSettings(model="m")) as rows:
        found = [next(rows)]
        append(path)
        with pytest.raises(InputChanged):
            found.extend(rows)
    assert 1 <= len(found) < 200


async def test_the_run_ends_and_the_next_one_sends_the_new_rows(autojump_clock, tmp_path, source):
    output, ended = tmp_path / "out.jsonl", 0

    def look(told):
        nonlocal ended
        ended += 1
        if ended == 20:
            replace(source)

    async with stage() as it:
        told = pytest.raises(BulkStopped, match="while it was read; run the same command again")
        with open_rows(source, ReadSettings()) as rows, told:
            await it.run(rows, output, window_rows=50, observers=[look])
        answered = len(ids_of(output))
        assert answered == it.requests
        assert 20 < answered <= ROWS
        with open_rows(source, ReadSettings()) as rows:
            await it.run(rows, output)
        wanted = [line["custom_id"] for line in lines_of(source)]
        assert ids_of(output) == wanted
        assert it.requests == len({*wanted, *(f"r-{n}" for n in range(1, answered + 1))})
