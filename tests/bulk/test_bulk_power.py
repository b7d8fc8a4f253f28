"""What was told is there after a power cut: of files that were not synced, nothing need be (L7)."""

import shutil
from random import Random

import pytest
from bulk_rows import ids_of, lines_of, row, stage

from callsheet.bulk import Paths
from callsheet.bulk.store import Store

ROWS = 60


def rows():
    return [row(number) for number in range(1, ROWS + 1)]


def noise(random):
    """What a disk may have where nothing was synced."""
    kind = random.choice(["zeros", "garbage", "nothing"])
    size = random.randrange(1, 20_000)
    return {"zeros": bytes(size), "garbage": random.randbytes(size), "nothing": b""}[kind]


def cut(random, text):
    """A file that was not synced: short of its end, with zeros for it, or not there."""
    kind, at = random.choice(["short", "zeros", "gone", "whole"]), random.randrange(len(text) + 1)
    return {
        "short": text[:at],
        "zeros": text[:at] + bytes(len(text) - at),
        "gone": None,
        "whole": text,
    }[kind]


def cut_off(random, output, folder):
    """What the disk has at this moment, if the power goes. The store is synced, OUTPUT is not."""
    folder.mkdir()
    there, paths = Paths(folder / output.name), Paths(output)
    shutil.copy(paths.store, there.store)
    log = paths.store.with_name(f"{paths.store.name}-wal").read_bytes()
    there.store.with_name(f"{there.store.name}-wal").write_bytes(log + noise(random))
    if (text := cut(random, output.read_bytes())) is not None:
        there.output.write_bytes(text)


def bodies(output):
    found = {}
    for line in lines_of(output):
        found[line["custom_id"]] = {**line["response"]["body"], "created": 0}
    return found


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("seed", range(6))
async def test_what_was_told_is_not_asked_again_after_a_power_cut(
    autojump_clock, tmp_path, seed, ordered
):
    random, output, folder = Random(seed), tmp_path / "out.jsonl", tmp_path / "after"
    told, cut_at = set(), random.randrange(1, ROWS)

    def look(row):
        if len(told) < cut_at:
            told.add(row.custom_id)
            if len(told) == cut_at:
                cut_off(random, output, folder)

    def look_again(row):
        assert row.is_reused or row.custom_id not in told

    async with stage() as it:
        await it.run(rows(), output, ordered=ordered, observers=[look])
        assert it.requests == ROWS
        after = folder / output.name
        await it.run(rows(), after, ordered=ordered, observers=[look_again])
        assert it.requests - ROWS <= ROWS - cut_at
        await it.run(rows(), after, ordered=ordered)
        assert it.requests - ROWS <= ROWS - cut_at
    assert len(ids_of(after)) == ROWS
    assert bodies(after) == bodies(output)
    if ordered:
        assert ids_of(after) == [one.custom_id for one in rows()]


@pytest.mark.parametrize(("fsync", "level"), [("full", 2), ("normal", 1), ("off", 0)])
def test_the_store_is_synced_as_it_was_said(tmp_path, fsync, level):
    store = Store(tmp_path / "store", fsync)
    try:
        assert store._number("PRAGMA synchronous") == level
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._db.execute("PRAGMA temp.synchronous").fetchone() == (0,)
    finally:
        store.close()
