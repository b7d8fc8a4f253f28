"""A run from its rows to its files, on the virtual clock."""

import pytest
import trio
from bulk_rows import ids, ids_of, lines_of, row, rows, stage

from callsheet.actors import Endpoint
from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.bulk.errors import BulkRefused
from callsheet.bulk.row import BadRow
from callsheet.bulk.settings import Paths

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")


INSTRUCTION = (
    "Classify the product review that follows. Answer with one label only: positive, negative or "
    "neutral."
)


async def test_every_row_is_answered_in_the_order_of_the_input(autojump_clock, output):
    async with stage() as it:
        results = await it.run(rows(50), output)
    assert [result.number for result in results] == list(range(1, 51))
    assert ids_of(output) == ids(*range(1, 51))
    assert it.requests == 50
    line = lines_of(output)[0]
    assert line["response"]["body"]["choices"][0]["message"]["content"] == results[0].response.text
    assert line["callsheet"]["attempts"] == 1
    assert results[0].response.route == "live"


async def test_a_response_is_on_disk_before_it_is_reported(autojump_clock, output):
    """L7."""
    told = []

    def observe(ended):
        told.append(ended.custom_id)
        assert ended.custom_id.encode() in stored()

    def stored():
        return (
            Paths(output).store.read_bytes()
            + Paths(output).store.with_name("out.jsonl.callsheet-wal").read_bytes()
        )

    async with stage() as it, it.open(rows(20), output, observers=[observe]) as results:
        async for result in results:
            assert result.custom_id.encode() in stored()
    assert sorted(told) == sorted(ids(*range(1, 21)))


async def test_a_second_run_sends_nothing_and_writes_nothing(autojump_clock, output):
    async with stage() as it:
        await it.run(rows(20), output)
        before = output.read_bytes()
        results = await it.run(rows(20), output)
    assert it.requests == 20
    assert output.read_bytes() == before
    assert all(result.event.is_reused for result in results)


@pytest.mark.parametrize("ordered", [True, False])
async def test_only_changed_rows_are_sent_again(autojump_clock, output, ordered):
    """Rows are added at the front, taken out, changed, and put in another order."""
    changed = row(7, "Something else.")
    wanted = [row(99), *rows(4, first=15), changed, *rows(5)]
    async with stage() as it:
        await it.run(rows(20), output, ordered=ordered)
        await it.run(wanted, output, ordered=ordered)
        asked = it.requests - 20
        if ordered:
            assert ids_of(output) == [one.custom_id for one in wanted]
        assert sorted(ids_of(output)) == sorted(one.custom_id for one in wanted)
        await it.run(rows(20), output, ordered=ordered)
    assert asked == 2
    assert it.requests == 22
    assert sorted(ids_of(output)) == sorted(ids(*range(1, 21)))


async def test_an_id_that_is_made_of_the_place_follows_the_row(autojump_clock, output):
    first = row(1, "The same.", custom_id="row-1")
    moved = row(2, "The same.", custom_id="row-2").__class__(
        number=2, custom_id="row-2", request=first.request, key=first.key, url=first.url
    )
    async with stage() as it:
        await it.run([first], output)
        await it.run([row(1, "New.", custom_id="row-1"), moved], output)
    assert ids_of(output) == ["row-1", "row-2"]
    assert it.requests == 2


async def test_a_repeated_id_is_a_bad_row(autojump_clock, output):
    async with stage() as it:
        results = await it.run([row(1), row(2, "Other.", custom_id="r-1"), row(3)], output)
    assert ids_of(output) == ids(1, 3)
    (line,) = lines_of(Paths(output).errors)
    assert line["callsheet"]["row"] == 2
    assert "is that of row 1 already" in line["error"]["message"]
    assert [result.error for result in results] == [None, "BadRow", None]
    with pytest.raises(ValueError, match="has no response"):
        _ = results[1].response


async def test_bad_rows_are_listed_with_number_and_reason(autojump_clock, output):
    bad = BadRow(number=2, reason="it is no JSON", text="{")
    async with stage() as it, it.open([row(1), bad, row(3)], output) as run:
        await run.wait()
        progress = run.progress()
    assert (progress.answered, progress.bad, progress.ended) == (2, 1, 3)
    (line,) = lines_of(Paths(output).errors)
    assert line["error"] == {"code": "BadRow", "message": "it is no JSON"}


async def test_failed_rows_are_sent_again_by_the_next_run(autojump_clock, output):
    endless = row(2, "tea " * 200_000)  # more tokens than the model's context holds
    async with stage() as it:
        results = await it.run([row(1), endless, row(3)], output)
        assert [result.error for result in results] == [None, "BadRequest", None]
        assert ids_of(output) == ids(1, 3)
        (line,) = lines_of(Paths(output).errors)
        assert line["response"]["status_code"] == 400
        before = it.requests
        await it.run([row(1), endless, row(3)], output)
        assert it.requests == before + 1
        await it.run([row(1), row(3)], output)
    assert not Paths(output).errors.exists()


async def test_unordered_output_is_in_the_order_of_completion(autojump_clock, output):
    async with stage() as it:
        results = await it.run(rows(50), output, ordered=False)
    assert ids_of(output) == [result.custom_id for result in results]
    assert ids_of(output) != ids(*range(1, 51))
    assert sorted(ids_of(output)) == sorted(ids(*range(1, 51)))


async def test_an_empty_input_makes_an_empty_output(autojump_clock, output):
    async with stage() as it:
        assert await it.run([], output) == []
    assert output.read_bytes() == b""


async def test_rows_can_be_packed_into_few_calls(autojump_clock, output):
    more = {"system": INSTRUCTION, "max_tokens": 5, "temperature": 0}
    many = [row(at, f"Came in two days. I love it. (order {at})", **more) for at in range(1, 101)]
    async with stage() as it:
        await it.run(many, output, route="pack")
    assert ids_of(output) == ids(*range(1, 101))
    assert it.requests < 50
    assert "pack" in {line["callsheet"]["route"] for line in lines_of(output)}


async def test_rows_can_be_sent_in_batches(autojump_clock, output):
    troupe = {"batches": BatchApiPolicy()}  # in memory: virtual time does not wait for a journal
    async with stage() as it:
        await it.run(rows(100), output, route="batch", window_rows=100, troupe=troupe)
    assert ids_of(output) == ids(*range(1, 101))
    assert {line["callsheet"]["route"] for line in lines_of(output)} == {"batch"}


@pytest.mark.parametrize(
    ("url", "more", "name"),
    [
        ("http://elsewhere/v1", {}, "http://elsewhere/v1#vendor=openai"),
        ("http://provider/v1", {"uds": "/b.sock"}, "http://provider/v1#socket=/b.sock"),
        ("http://provider/v1", {"headers": {"openai-project": "p"}}, "#openai-project:p"),
    ],
)
async def test_responses_of_another_provider_are_refused(autojump_clock, output, url, more, name):
    """L12: another socket or project is another provider, even at the same URL."""
    elsewhere = {"endpoint": Endpoint(url, None, "openai", **more)}
    async with stage() as it:
        await it.run(rows(5), output)
        with pytest.raises(BulkRefused, match="are from http://provider/v1") as caught:
            await it.run(rows(5), output, troupe=elsewhere)
        assert name in str(caught.value)
        await it.run(rows(5), output, troupe=elsewhere, other_provider=True)
    assert it.requests == 5


async def test_the_store_is_removed_after_a_complete_run_without_keep(autojump_clock, output):
    async with stage() as it:
        await it.run(rows(5), output, keep=False)
        assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]
        with pytest.raises(BulkRefused, match="Callsheet did not write that file"):
            await it.run(rows(5), output)
    assert ids_of(output) == ids(*range(1, 6))


async def test_a_foreign_file_is_left_alone(autojump_clock, output):
    output.write_text("My novel.\n")
    async with stage() as it:
        with pytest.raises(BulkRefused, match="Callsheet did not write that file"):
            await it.run(rows(5), output)
    assert output.read_text() == "My novel.\n"


@pytest.mark.parametrize("route", ["auto", "live", "pack"])
async def test_rows_in_a_batch_are_not_sent_by_another_route(autojump_clock, output, route):
    async with stage() as it:
        async with it.open(rows(20), output, route="batch") as run:
            await trio.sleep(20)
            assert it.provider.stats.batches == 1
        with pytest.raises(BulkRefused, match=r"20 rows are in batches .*--route batch"):
            await it.run(rows(20), output, route=route)
        assert it.requests == 0
        await it.run(rows(20), output, route="batch")
        assert it.provider.stats.batch_lines == 20
        await it.run(rows(25), output, route=route)
    assert run.progress().answered == 0
    assert ids_of(output) == ids(*range(1, 26))
