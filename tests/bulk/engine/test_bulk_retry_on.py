"""`retry_on`: rows whose response was cut off or withheld are asked once more in each run."""

from collections import Counter
from contextlib import suppress
from decimal import Decimal

import attrs
import pytest
from bulk_rows import ids, ids_of, lines_of, row, stage

from callsheet.actors import CachePolicy, Choice, Limits, RequestTooLarge, Response, Usage
from callsheet.bulk.engine.dispatch import Dispatch
from callsheet.bulk.errors import BulkStopped
from callsheet.bulk.row import ended_by
from callsheet.bulk.settings import BulkSettings


def rows(count):
    """Return rows whose responses end by themselves."""
    return [row(number, max_tokens=300) for number in range(1, count + 1)]


@pytest.fixture
def cut(monkeypatch):
    """Let the next responses of rows end by a reason: {(custom id, reason): how often}."""
    left = Counter()
    answered = Dispatch.answered

    def replaced(self, call, response):
        for (custom_id, reason), times in left.items():
            if custom_id == call.row.custom_id and times:
                left[custom_id, reason] -= 1
                response = ended(response, reason)
                break
        answered(self, call, response)

    monkeypatch.setattr(Dispatch, "answered", replaced)
    return left


def ended(response, reason):
    body = dict(response.body)
    body["choices"] = [one | {"finish_reason": reason} for one in body["choices"]]
    choices = tuple(attrs.evolve(one, finish_reason=reason) for one in response.choices)
    return attrs.evolve(response, finish_reason=reason, choices=choices, body=body)


def reasons(output):
    """Return the finish reasons by id."""
    return {
        line["custom_id"]: line["response"]["body"]["choices"][0]["finish_reason"]
        for line in lines_of(output)
    }


def cost(output):
    costs = (Decimal(str(line["callsheet"]["cost_usd"])) for line in lines_of(output))
    return sum(costs, Decimal(0))


async def test_a_response_of_this_run_that_was_cut_is_asked_for_once_more(
    autojump_clock, output, cut
):
    cut["r-2", "length"] = 1
    async with stage() as it:
        results = await it.run(rows(5), output, retry_on=["length"])
        assert it.requests == 6
    assert ids_of(output) == ids(1, 2, 3, 4, 5)
    assert set(reasons(output).values()) == {"stop"}
    assert [result.event.attempts for result in results] == [1, 2, 1, 1, 1]
    second = lines_of(output)[1]["callsheet"]
    assert second["attempts"] == 2
    assert (
        second["usage"]["input_tokens"]
        == 2 * lines_of(output)[0]["callsheet"]["usage"]["input_tokens"]
    )


async def test_it_is_asked_once_and_then_kept_as_it_is(autojump_clock, output, cut):
    cut["r-2", "length"] = 99
    async with stage() as it:
        async with it.open(rows(5), output, retry_on=["length"]) as run:
            await run.wait()
        assert it.requests == 6
        assert run.progress().cut == {"length": 1}
        assert reasons(output)["r-2"] == "length"
        await it.run(rows(5), output)  # without the option, nothing is asked
        assert it.requests == 6
        await it.run(rows(5), output, retry_on=["length"])
        assert it.requests == 7


async def test_a_response_of_an_earlier_run_is_replaced_and_each_call_is_counted(
    autojump_clock, output, cut
):
    """The costs in OUTPUT are what the rows have cost, all calls included (L13)."""
    cut["r-2", "content_filter"] = cut["r-4", "length"] = 1
    async with stage() as it:
        async with it.open(rows(5), output) as first:
            await first.wait()
        assert it.requests == 5
        assert first.progress().cut == {"content_filter": 1, "length": 1}
        async with it.open(rows(5), output, retry_on=["content_filter"]) as again:
            await again.wait()
        assert it.requests == 6
        progress = again.progress()
        assert (progress.answered, progress.reused) == (5, 4)
        assert progress.cost_usd < first.progress().cost_usd
        assert progress.spent_usd == first.progress().cost_usd + progress.cost_usd == cost(output)
    assert ids_of(output) == ids(1, 2, 3, 4, 5)
    assert reasons(output) == dict.fromkeys(ids(1, 2, 3, 5), "stop") | {"r-4": "length"}


async def test_the_earlier_response_stays_if_the_new_call_fails(
    autojump_clock, output, cut, monkeypatch
):
    cut["r-2", "length"] = 1
    async with stage() as it:
        await it.run(rows(3), output)
        before = output.read_bytes()
        monkeypatch.setattr(
            Dispatch,
            "answered",
            lambda self, call, _: self.failed(call, RequestTooLarge("too large", status=400)),
        )
        results = await it.run(rows(3), output, retry_on=["length"])
        assert it.requests == 4
    assert output.read_bytes() == before
    assert [result.error for result in results] == [None] * 3


@pytest.mark.parametrize("in_one_run", [True, False])
async def test_what_a_new_call_that_fails_has_cost_is_in_the_line(
    autojump_clock, output, cut, monkeypatch, *, in_one_run
):
    """The costs in OUTPUT are what the rows have cost, all calls included (L13)."""
    cut["r-2", "length"] = 1
    failed = RequestTooLarge("too large", status=400).after(Usage(7, 3), Decimal("0.5"), attempts=1)
    answered = Dispatch.answered

    def fails_again(self, call, response):
        if call.placed.earlier is None:
            answered(self, call, response)
        else:
            self.failed(call, failed)

    async with stage() as it:
        if not in_one_run:
            await it.run(rows(3), output)
        monkeypatch.setattr(Dispatch, "answered", fails_again)
        async with it.open(rows(3), output, retry_on=["length"]) as run:
            await run.wait()
        spent = run.progress().spent_usd
    assert reasons(output)["r-2"] == "length"
    first, second, _ = (line["callsheet"] for line in lines_of(output))
    assert second["attempts"] == 2
    assert second["usage"]["input_tokens"] == first["usage"]["input_tokens"] + 7
    assert spent == cost(output) > Decimal("0.5")
    async with stage() as it:  # the store has the line, too
        output.unlink()
        await it.run(rows(3), output)
        assert it.requests == 0
    assert cost(output) == spent


@pytest.mark.parametrize("ordered", [True, False])
async def test_what_the_budget_does_not_allow_to_ask_again_stays(
    autojump_clock, output, cut, ordered
):
    for custom_id in ids(*range(1, 31)):
        cut[custom_id, "length"] = 1
    async with stage() as it:
        async with it.open(rows(30), output) as first:
            await first.wait()
        spent = first.progress().spent_usd
        with pytest.raises(BulkStopped) as caught:
            await it.run(
                rows(30),
                output,
                retry_on=["length"],
                max_cost=spent * Decimal("1.5"),
                ordered=ordered,
            )
        assert caught.value.ending.kind == "unpaid"
        assert 30 < it.requests < 60
    assert sorted(ids_of(output)) == sorted(ids(*range(1, 31)))
    assert Counter(reasons(output).values())["length"] == 60 - it.requests


async def test_a_stop_of_the_user_keeps_responses_that_would_be_asked_for_again(
    autojump_clock, output, cut
):
    for custom_id in ids(*range(1, 31)):
        cut[custom_id, "length"] = 1
    async with stage() as it:
        with suppress(BulkStopped):  # all rows may have ended
            few = {"limits": Limits(in_flight=3)}
            async with it.open(rows(30), output, retry_on=["length"], troupe=few) as run:
                async for _ in run:
                    run.drain()
        kept, asked = len(ids_of(output)), it.requests
        assert asked < 60
        await it.run(rows(30), output)
        assert it.requests == asked + 30 - kept
    assert sorted(ids_of(output)) == sorted(ids(*range(1, 31)))


async def test_a_cache_does_not_give_the_same_response_again(autojump_clock, output, cut):
    cut["r-1", "length"] = 1
    given = [
        attrs.evolve(one, request=attrs.evolve(one.request, cacheable=True)) for one in rows(2)
    ]
    async with stage() as it:
        await it.run(given, output, retry_on=["length"], troupe={"cache": CachePolicy(path=None)})
        assert it.requests == 3


def test_reasons_that_are_not_known_are_refused():
    assert BulkSettings(retry_on=["length"]).retry_on == ("length",)
    with pytest.raises(ValueError, match="retry_on"):
        BulkSettings(retry_on=["stop"])
    with pytest.raises(TypeError, match="retry_on must be a list"):
        BulkSettings(retry_on="length")


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (("stop",), "stop"),
        (("stop", "length"), "length"),
        (("content_filter", "length"), "content_filter"),
        (("tool_calls", "stop"), "tool_calls"),
        ((), None),
    ],
)
def test_of_several_texts_the_first_that_is_not_complete_counts(reasons, expected):
    choices = tuple(Choice("Hi", reason) for reason in reasons)
    first = reasons[0] if reasons else None
    response = Response(
        text="Hi",
        model="m",
        finish_reason=first,
        usage=Usage(),
        cost_usd=None,
        http_requests=1,
        seconds=0.1,
        choices=choices,
    )
    assert ended_by(response) == expected
