"""The results held in memory are bounded by their size, and not only by their number."""

import pytest
import trio
from bulk_rows import row, stage

from callsheet.actors import ChatMessage, Request
from callsheet.bulk.engine.reader import take
from callsheet.bulk.row import BadRow, size_of

LONG = "long " * 200


class Counted:
    """Rows with long prompts, and the number of rows read."""

    def __init__(self, count):
        self.read = 0
        self._count = count

    def __iter__(self):
        for number in range(1, self._count + 1):
            self.read += 1
            yield row(number, f"{number}: {LONG}")


@pytest.mark.usefixtures("journal_on_the_spot")
@pytest.mark.parametrize("route", ["live", "batch"])
async def test_no_more_is_read_than_may_be_held(autojump_clock, tmp_path, monkeypatch, route):
    monkeypatch.setattr("callsheet.bulk.engine.reader._MOST_CHARS", 2_000)
    rows, ended, most = Counted(50), 0, 0

    def look(told):
        nonlocal ended, most
        ended += 1
        most = max(most, rows.read - ended)

    async with stage() as it:
        settings = {"window_bytes": 20_000, "route": route, "observers": [look]}
        await it.run(rows, tmp_path / "out.jsonl", **settings)
    assert ended == 50
    assert 10 < most <= 24


async def test_results_without_a_reader_are_held_up_to_their_size(
    autojump_clock, tmp_path, monkeypatch
):
    monkeypatch.setattr("callsheet.bulk.engine.dispatcher.READ_AT_ONCE", 20)
    async with stage() as it:
        rows = (row(number) for number in range(1, 241))
        async with it.open(rows, tmp_path / "out.jsonl", window_bytes=20_000) as run:
            await trio.sleep(600)
            asked = it.requests
            assert 30 < asked < 200
            assert len([result async for result in run]) == 240


def test_a_piece_of_the_input_is_no_larger_than_it_should_be(monkeypatch):
    monkeypatch.setattr("callsheet.bulk.engine.reader._MOST_CHARS", 2_500)
    rows = iter([*(row(number, LONG) for number in range(1, 6)), BadRow(number=6, reason="bad")])
    assert [len(take(rows, 512, lambda: 0.0).rows) for _ in range(2)] == [3, 3]


def test_all_that_may_be_large_is_counted():
    parts = [{"type": "image_url", "image_url": {"url": "x" * 500}}, 5, None]
    extra = {"messages": [{"role": "user", "content": parts}]}
    one = Request(model="m", messages=(ChatMessage("user", "y" * 20),), extra_body=extra)
    assert size_of(one) == 20 + 500 + len("image_url") + len("user")
    texts = Request(model="m", task="embedding", inputs=("abc", "de"))
    assert size_of(texts) == 5 + 2 * 3072 * 128, "vectors are larger than their texts"
    short = Request(model="m", task="embedding", inputs=("abc",), dimensions=256)
    assert size_of(short) == 3 + 256 * 128
