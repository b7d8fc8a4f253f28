"""Reported responses survive a power cut, even if all files that were not synced are lost (L7)."""

from random import Random

import pytest
from bulk_rows import bodies, ids_of, lines_of, row, stage
from power_cut import cut_off

from callsheet.bulk.files.store import RunStore
from callsheet.bulk.row import BadRow
from callsheet.bulk.settings import Paths

ROWS = 30


def rows():
    return [row(number) for number in range(1, ROWS + 1)]


SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))]


def bad_rows():
    """Return rows among which are invalid lines, and rows that the provider rejects."""
    for number in range(1, ROWS + 1):
        if number % 7 == 3:
            yield BadRow(number=number, reason="it is no JSON", text="{")
        else:
            most = 10**6 if number % 7 == 5 else 20  # more than the model's maximum
            yield row(number, max_tokens=most)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
async def test_reported_rows_are_not_sent_again_after_a_power_cut(
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
        it.wall_s += 60  # so that a repeated response has a different line
        after = folder / output.name
        await it.run(rows(), after, ordered=ordered, observers=[look_again])
        assert it.requests - ROWS <= ROWS - cut_at
        await it.run(rows(), after, ordered=ordered)
        assert it.requests - ROWS <= ROWS - cut_at
    assert len(ids_of(after)) == ROWS
    assert bodies(after) == bodies(output)
    if ordered:
        assert ids_of(after) == [one.custom_id for one in rows()]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
async def test_rows_without_a_response_are_reported_once_after_a_power_cut(
    autojump_clock, tmp_path, seed, ordered
):
    """The file of errors is written again, whatever is left of it."""
    random, output, folder = Random(seed), tmp_path / "out.jsonl", tmp_path / "after"
    failed, count, cut_at = set(), 0, random.randrange(10, ROWS)

    def look(row):
        nonlocal count
        count += 1
        failed.update({row.number} if row.error else ())
        if count == cut_at:
            assert Paths(output).errors.exists()
            cut_off(random, output, folder)

    async with stage() as it:
        await it.run(bad_rows(), output, ordered=ordered, observers=[look])
        it.wall_s += 60
        asked, after = it.requests, folder / output.name
        results = await it.run(bad_rows(), after, ordered=ordered)
        assert it.requests - asked <= ROWS
    assert sorted(result.number for result in results) == list(range(1, ROWS + 1))
    told = [line["callsheet"]["row"] for line in lines_of(Paths(after).errors)]
    assert sorted(told) == sorted(failed)
    refused = [line for line in lines_of(Paths(after).errors) if line["response"] is not None]
    assert {line["response"]["status_code"] for line in refused} == {400}
    assert 0 < len(refused) < len(told)
    assert len(ids_of(after)) == ROWS - len(failed)
    assert bodies(after) == bodies(output)


@pytest.mark.parametrize(("fsync", "level"), [("full", 2), ("normal", 1), ("off", 0)])
@pytest.mark.synced
def test_the_store_is_synced_as_configured(tmp_path, fsync, level):
    store = RunStore(tmp_path / "store", fsync)
    try:
        assert store._db.number("PRAGMA synchronous") == level
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._db.execute("PRAGMA temp.synchronous").fetchone() == (0,)
    finally:
        store.close()
