"""An outage delays rows and fails none (R10); a row that fails alone is itself at fault."""

import json
import math
from collections import Counter

import attrs
import httpx
import pytest
import trio
from bulk_rows import URL, lines_of, on_the_spot, row

from callsheet.actors import Endpoint, Limits, RetryPolicy, Target, TroupeSettings
from callsheet.bulk import bulk
from callsheet.bulk.errors import BulkStopped
from callsheet.runtime import open_collapsing_nursery

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
ANSWER = {"model": "gpt-4o-mini", "choices": [CHOICE], "usage": {"prompt_tokens": 5}}
BROKEN = "there is no connection"


def refuses(status):
    return lambda: httpx.Response(status, json={"error": {"message": "not now"}})


def unreachable():
    raise httpx.ConnectError(BROKEN)


def outage(since, until, how):
    """Fail every request."""
    return lambda _, at: how if since <= at < until else None


def one_fails(number, how, *, until=math.inf):
    return lambda asked, at: how if asked == number and at < until else None


class World:
    """A provider that responds to each prompt after a second, unless `trouble` raises an error."""

    def __init__(self, trouble, *, answer_s=lambda _: 1.0):
        self.trouble = trouble
        self.answer_s = answer_s
        self.asked = Counter()
        self.began_at = trio.current_time()

    async def handle(self, request):
        number = int(json.loads(request.content)["messages"][0]["content"].strip("Say ."))
        self.asked[number] += 1
        if (found := self.trouble(number, trio.current_time() - self.began_at)) is not None:
            return found()
        await trio.sleep(self.answer_s(number))
        return httpx.Response(200, json=ANSWER)

    async def run(self, rows, output, *, looks=(), **troupe):
        settings = TroupeSettings(
            endpoint=Endpoint(URL, None, "openai"),
            transport=httpx.MockTransport(self.handle),
            **troupe,
        )
        seen = []

        async def look(results):
            for at in looks:
                await trio.sleep_until(self.began_at + at)
                seen.append(results.progress().trouble)

        async with (
            bulk(rows, output, settings, in_thread=on_the_spot, wall_clock=lambda: 0.0) as results,
            open_collapsing_nursery() as nursery,
        ):
            nursery.start_soon(look, results)
            ended = [result.event async for result in results]
            self.lost = results.progress().maybe_billed
        return ended, seen


ROWS = [row(number) for number in range(1, 151)]


@pytest.mark.parametrize(
    ("how", "said"),
    [(refuses(503), "503"), (unreachable, "cannot connect")],
    ids=["503", "unreachable"],
)
async def test_rows_wait_for_the_end_of_an_outage_however_long_it_is(
    autojump_clock, tmp_path, how, said
):
    world = World(outage(0.5, 3600, how))
    ended, seen = await world.run(ROWS, tmp_path / "out.jsonl", looks=[600, 3890])
    assert [told.error for told in ended] == [None] * 150
    assert world.began_at + 3600 < trio.current_time() < world.began_at + 3900
    assert said in seen[0]
    assert seen[1:] == [""]
    assert sum(world.asked.values()) < 150 + 200, "no row is sent again and again (L4)"


async def test_a_refused_first_connection_is_reported_at_once(autojump_clock, tmp_path):
    world = World(outage(0, 5, unreachable))
    ended, seen = await world.run(ROWS, tmp_path / "out.jsonl", looks=[0.5, 2, 60])
    assert [told.error for told in ended] == [None] * 150
    assert "cannot connect" in seen[0]
    assert "cannot connect" in seen[1]
    assert seen[2] == ""


async def test_a_run_that_begins_in_an_outage_waits_too(autojump_clock, tmp_path):
    world = World(outage(0, 900, refuses(503)))
    ended, _ = await world.run(ROWS, tmp_path / "out.jsonl")
    assert [told.error for told in ended] == [None] * 150
    attempts = [line["callsheet"]["attempts"] for line in lines_of(tmp_path / "out.jsonl")]
    assert sum(attempts) == sum(world.asked.values()), "attempts of earlier rounds count as well"


async def test_a_row_that_alone_fails_ends_as_failed(autojump_clock, tmp_path):
    world = World(one_fails(7, refuses(503)))
    ended, _ = await world.run(ROWS, tmp_path / "out.jsonl")
    assert [told.custom_id for told in ended if told.error == "ProviderUnavailable"] == ["r-7"]
    assert world.asked[7] == 15


@pytest.mark.slow
async def test_a_row_that_is_too_fast_is_asked_for_again_and_not_for_ever(autojump_clock, tmp_path):
    world = World(one_fails(7, refuses(429), until=10))
    rows = [row(number) for number in range(1, 2000)]
    ended, _ = await world.run(rows, tmp_path / "out.jsonl")
    assert not any(told.error for told in ended)
    world = World(one_fails(7, refuses(429)))
    ended, _ = await world.run(rows, tmp_path / "again.jsonl")
    assert [told.error for told in ended if told.error] == ["RateLimited"]
    assert world.asked[7] <= 5 * 11


async def test_an_address_without_a_server_ends_the_run_instead_of_failing_every_row(
    autojump_clock, tmp_path
):
    world = World(outage(0, math.inf, unreachable))
    with pytest.raises(BulkStopped, match="is the address right") as stopped:
        await world.run([row(number) for number in range(1, 401)], tmp_path / "out.jsonl")
    assert stopped.value.ending.kind == "unanswered"
    assert trio.current_time() - world.began_at < 60
    assert sum(world.asked.values()) <= 5 * 100


async def test_a_fallback_that_takes_long_is_waited_for(autojump_clock, tmp_path):
    """The first address is dead, and the second has not responded yet."""
    elsewhere = Endpoint("http://elsewhere/v1", None, "openai")
    world = World(lambda _, __: None, answer_s=lambda _: 90.0)
    handle = world.handle

    async def first_is_dead(request):
        if request.url.host == "elsewhere":
            return await handle(request)
        prompt = json.loads(request.content)["messages"][0]["content"]
        await trio.sleep(2.0 * int(prompt.strip("Say .")))  # some rows take long to fail
        return unreachable()

    world.handle = first_is_dead
    rows = [row(number) for number in range(1, 31)]
    output = tmp_path / "out.jsonl"
    ended, _ = await world.run(rows, output, fallbacks=[Target(elsewhere)])
    assert [told.error for told in ended] == [None] * 30


async def test_an_unknown_path_ends_the_run_instead_of_failing_every_row(autojump_clock, tmp_path):
    world = World(outage(0, math.inf, refuses(404)))
    with pytest.raises(BulkStopped, match="check the base URL and the model"):
        await world.run([row(number) for number in range(1, 401)], tmp_path / "out.jsonl")
    assert sum(world.asked.values()) <= 110
    world = World(outage(5, math.inf, refuses(404)))
    ended, _ = await world.run([row(number) for number in range(1, 401)], tmp_path / "some.jsonl")
    assert len(ended) == 400, "others were answered"


async def test_the_last_row_does_not_wait_for_ever(autojump_clock, tmp_path):
    world = World(outage(10, math.inf, refuses(503)))
    ended, _ = await world.run(ROWS, tmp_path / "out.jsonl")
    assert not any(told.error for told in ended)
    world = World(one_fails(1, refuses(503)))
    ended, _ = await world.run([row(1)], tmp_path / "one.jsonl")
    assert [told.error for told in ended] == ["ProviderUnavailable"]
    assert (ended[0].attempts, world.asked[1]) == (55, 55)
    assert trio.current_time() - world.began_at > 1800, "it may be an outage"
    world = World(one_fails(150, refuses(503)))
    often = RetryPolicy(base_s=0.2)  # all attempts are made within 30 s of the last response
    ended, _ = await world.run(ROWS, tmp_path / "last.jsonl", retry=often)
    assert [told.error for told in ended if told.error] == ["ProviderUnavailable"]
    assert trio.current_time() - world.began_at < 60, "others were just answered"


@pytest.mark.slow
async def test_no_row_fails_that_is_under_way_when_an_outage_begins(autojump_clock, tmp_path):
    """Responses to calls that began before the outage still arrive for a while."""
    for in_flight in (4, 10, 100):
        world = World(outage(60, 660, refuses(503)), answer_s=lambda number: 1 + number % 20)
        rows = [row(number) for number in range(1, 1001)]
        output = tmp_path / f"{in_flight}.jsonl"
        ended, _ = await world.run(rows, output, limits=Limits(in_flight=in_flight))
        assert not [told.custom_id for told in ended if told.error]


async def test_what_may_not_be_asked_again_is_not(autojump_clock, tmp_path):
    """The provider forbids a retry, or it stores the request (L2)."""

    def never():
        return httpx.Response(503, json={}, headers={"x-should-retry": "false"})

    def cut_off():
        raise httpx.ReadError("cut off")

    world = World(outage(0, math.inf, never))
    ended, _ = await world.run([row(1)], tmp_path / "never.jsonl")
    assert (ended[0].error, world.asked[1]) == ("ProviderUnavailable", 1)
    world = World(outage(0, math.inf, cut_off))
    kept = row(1)
    kept = attrs.evolve(kept, request=attrs.evolve(kept.request, extra_body={"store": True}))
    ended, _ = await world.run([kept], tmp_path / "kept.jsonl")
    assert (ended[0].error, world.asked[1]) == ("ConnectionFailed", 1)


async def test_what_may_be_billed_each_time_is_not_asked_for_without_end(autojump_clock, tmp_path):
    def cut_off():
        raise httpx.ReadError("cut off")

    world = World(outage(0, math.inf, cut_off))
    ended, _ = await world.run([row(1)], tmp_path / "out.jsonl")
    assert (ended[0].error, world.asked[1]) == ("ConnectionFailed", 5)
    assert world.lost == 5, "each of them may have been billed (L3)"
