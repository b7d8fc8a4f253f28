"""A run with a deadline ends when its rows have ended, not at the deadline."""

import pytest
import trio
from bulk_rows import ids_of, row, stage

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")


@pytest.mark.parametrize("route", ["auto", "live", "pack", "batch"])
async def test_a_run_that_has_all_its_answers_does_not_wait_for_its_deadline(
    autojump_clock, tmp_path, route
):
    output = tmp_path / "out.jsonl"
    rows = [row(number) for number in range(1, 21)]
    async with stage() as it:
        began_at = trio.current_time()
        results = await it.run(rows, output, route=route, deadline_s=50.0)
        took_s = trio.current_time() - began_at
    assert ids_of(output) == [result.custom_id for result in results]
    assert len(results) == 20
    assert took_s < 10
