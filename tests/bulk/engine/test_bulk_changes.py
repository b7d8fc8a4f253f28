"""A program's run does not pay again for most rows of a finished one, unless it says so."""

import pytest
import trio
from bulk_rows import ids_of, lines_of, stage

from callsheet.actors import Request
from callsheet.bulk import BulkRefused, ReadSettings
from callsheet.bulk.reading.rows import rows_of
from callsheet.bulk.row import BadRow
from callsheet.bulk.settings import Paths

MODEL = "gpt-4o-mini"


def requests(count, *, system="Be brief.", first=1):
    return [
        (f"r-{n}", Request.of(f"Say {n}.", system=system, model=MODEL, max_tokens=5))
        for n in range(first, first + count)
    ]


@pytest.mark.parametrize(
    "name", ["out.jsonl", "out.csv", pytest.param("out.parquet", marks=pytest.mark.slow)]
)
async def test_a_changed_system_message_is_refused_and_nothing_is_touched(
    autojump_clock, tmp_path, name
):
    output = tmp_path / name
    async with stage() as it:
        await it.run(requests(30), output)
        before = output.read_bytes()
        with pytest.raises(BulkRefused) as caught:
            await it.run(requests(30, system="Be kind."), output)
        assert it.requests == 30
        assert output.read_bytes() == before
        assert str(caught.value) == (
            "this run would pay again for all 30 rows among the first 30 that have had a response, "
            "because they have changed (system message); undo the change, give another OUTPUT, or "
            "set pay_for_changes to pay again"
        )
        await it.run(requests(30, system="Be kind."), output, pay_for_changes=True)
        assert it.requests == 60
        await it.run(requests(30), output)  # undone: the old responses are still there
        assert it.requests == 60


@pytest.mark.parametrize(
    ("name", "ordered"),
    [
        ("out.jsonl", True),
        ("out.csv", False),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("out.jsonl", False),
                ("out.csv", True),
                ("out.parquet", True),
                ("out.parquet", False),
            )
        ),
    ],
)
async def test_the_errors_of_the_run_before_stay_when_a_run_is_refused(
    autojump_clock, tmp_path, name, ordered
):
    output = tmp_path / name
    bad = BadRow(number=31, reason="the prompt is empty", custom_id="r-31")
    async with stage() as it:
        await it.run([*requests(30), bad], output, ordered=ordered)
        before = {path.name: path.read_bytes() for path in (output, Paths(output).errors)}
        with pytest.raises(BulkRefused):
            await it.run([*requests(30, system="Be kind."), bad], output, ordered=ordered)
        for path in (output, Paths(output).errors):
            assert path.read_bytes() == before[path.name]
        await it.run(requests(30), output, ordered=ordered)
        assert it.requests == 30
        assert not Paths(output).errors.exists()


@pytest.mark.slow
async def test_wait_raises_it_too_and_a_longer_input_is_looked_at_by_its_first_rows(
    autojump_clock, output
):
    async with stage() as it:
        await it.run(requests(700), output)
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 60
            with pytest.raises(BulkRefused, match="among the first"):
                async with it.open(requests(700, system="Be kind."), output) as run:
                    await run.wait()
            nursery.cancel_scope.cancel()
        assert it.requests == 700
        assert len(ids_of(output)) == 700


async def test_what_is_new_or_removed_or_changed_in_part_is_sent(autojump_clock, output):
    async with stage() as it:
        await it.run(requests(30), output)
        await it.run(requests(40, first=25), output)  # six are known, and the rest is new
        assert it.requests == 64
        await it.run(requests(50, first=100), output)  # none is known
        assert it.requests == 114
        half = [*requests(25, first=100, system="Be kind."), *requests(25, first=125)]
        await it.run(half, output)
        assert it.requests == 139
    assert len(ids_of(output)) == 50


async def test_a_template_that_has_changed_is_named(autojump_clock, output):
    def reviews(template):
        settings = ReadSettings(template=template, model=MODEL, max_tokens=5)
        return rows_of([{"text": "Good."}, {"text": "Bad."}], settings)

    async with stage() as it:
        await it.run(reviews("{{ text }}"), output)
        with pytest.raises(BulkRefused, match=r"have changed \(prompt\)"):
            await it.run(reviews("Label {{ text }}"), output)
    assert len(lines_of(output)) == 2
