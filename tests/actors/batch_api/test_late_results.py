"""What a provider may still deliver is waited for, and what may have been billed is reported."""

import json

import pytest
import trio
from batch_provider import BatchProvider
from batch_stage import KINDS, MORE_KINDS, about, batch_stage, leaving, texts
from odd_lines import ODD, ODD_OF, WITHOUT, WITHOUT_OF

from callsheet.actors import BadRequest

FILES = ["openai", "together"]
SHORT = {
    "empty": lambda _: b"",
    "a line short": lambda content: content[: content.index(b"\n") + 1],
    "cut in a line": lambda content: content[:-9],
    "an error": lambda _: b'{"error": {"message": "later"}}',
    "a web page": lambda _: b"<html>\n<p>Later.</p>\n</html>",
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("reports_counts", [True, False])
async def test_a_completed_batch_whose_file_is_not_named_yet_is_waited_for(
    kind, reports_counts, autojump_clock, log
):
    provider = BatchProvider(kind)
    provider.hidden_s, provider.reports_counts = 900.0, reports_counts
    async with batch_stage(provider) as here:
        found = await here.ask_all("a", "b")
    assert texts(found) == about("a", "b")
    assert (here.sent_live, sorted(provider.billed)) == ([], ["a", "b"])
    assert [event["event"] for event in log] == ["batch_results_late"]


@pytest.mark.parametrize("final", ["expired", "cancelled"])
async def test_a_batch_that_was_cut_short_may_name_its_files_late(final, autojump_clock):
    provider = BatchProvider(finals=[final])
    provider.hidden_s = 900.0
    async with batch_stage(provider) as here:
        found = await here.ask_all("a", "b")
    assert texts(found) == about("a", "b")
    assert len(provider.billed) + len(here.sent_live) == 2
    assert all(one.maybe_billed == 0 for one in found.values())


@pytest.mark.parametrize("kind", FILES)
async def test_a_file_that_is_never_named_is_given_up_and_may_be_billed(kind, autojump_clock, log):
    provider = BatchProvider(kind)
    provider.hidden_s = 1e9
    async with batch_stage(provider, late_s=600.0) as here:
        found = await here.ask_all("a", "b")
    assert (texts(found), sorted(here.sent_live)) == (about("a", "b"), ["a", "b"])
    assert [one.maybe_billed for one in found.values()] == [1, 1]
    lost = [event for event in log if event["event"] == "batch_lost"]
    assert [(event["lines"], event["maybe_billed"]) for event in lost] == [(2, True)]
    assert trio.current_time() == pytest.approx(700, abs=400)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("faults", [["refuse-404"], ["refuse-410", "refuse-503"] * 5])
async def test_a_download_that_is_not_there_yet_is_repeated(kind, faults, autojump_clock):
    provider = BatchProvider(kind)
    provider.faults = {"fetch": list(faults)}
    async with batch_stage(provider) as here:
        found = await here.ask_all("a", "b")
    assert (texts(found), here.sent_live) == (about("a", "b"), [])
    assert all(one.maybe_billed == 0 for one in found.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("short", SHORT)
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 6])
async def test_a_download_that_is_short_is_repeated(kind, short, times, autojump_clock):
    """L7: what the provider has is fetched again, before anything is sent live."""
    provider = BatchProvider(kind)
    provider.downloads = [SHORT[short]] * times
    async with batch_stage(provider) as here:
        found = await here.ask_all("a", "b")
    assert (texts(found), here.sent_live) == (about("a", "b"), [])
    assert all(one.maybe_billed == 0 for one in found.values())
    assert len(provider.batches) == 1


@pytest.mark.parametrize(
    ("kind", "final"),
    [
        ("openai", "completed"),
        ("openai", "expired"),
        ("anthropic", "completed"),
        pytest.param("anthropic", "expired", marks=pytest.mark.slow),
        pytest.param("together", "completed", marks=pytest.mark.slow),
        pytest.param("together", "expired", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("short", SHORT)
async def test_lines_of_a_download_that_stays_short_may_have_been_billed(
    kind, final, short, autojump_clock
):
    provider = BatchProvider(kind, finals=[final])
    provider.downloads = [SHORT[short]] * 1000
    async with batch_stage(provider, late_s=600.0) as here:
        found = await here.ask_all("a", "b")
    assert texts(found) == about("a", "b")
    billed = sorted([*provider.billed, *here.sent_live])
    paid = sorted(prompt for prompt, one in found.items() for _ in range(1 + one.maybe_billed))
    assert all(billed.count(prompt) <= paid.count(prompt) for prompt in "ab")
    assert len(provider.batches) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_download_that_is_never_there_may_have_been_billed(kind, autojump_clock):
    provider = BatchProvider(kind)
    provider.faults = {"fetch": ["refuse-404"] * 1000}
    async with batch_stage(provider) as here:
        found = await here.ask("a")
    assert (found.text, found.route, found.maybe_billed) == ("about a", "live", 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_that_is_unknown_for_a_moment_is_not_lost(kind, autojump_clock):
    async with batch_stage(BatchProvider(kind, batch_s=2000.0)) as here:
        here.provider.faults = {"poll": ["ok"] * 6 + ["refuse-404"]}
        assert (await here.ask("a")).route == "batch"


def _by_kind(usual, more):
    found = [("openai", name, odd) for name, odd in usual.items()]
    found += [(kind, name, odd) for kind, some in more.items() for name, odd in some.items()]
    return [pytest.param(kind, odd, id=f"{kind}-{name}") for kind, name, odd in found]


@pytest.mark.parametrize(("kind", "odd"), _by_kind(ODD, ODD_OF))
async def test_an_odd_line_that_was_paid_for_is_read(kind, odd, autojump_clock):
    """L11."""
    provider = BatchProvider(kind)
    provider.odd = {"a": odd}
    async with batch_stage(provider) as here:
        found = await here.ask("a")
    assert (found.text, found.route, found.maybe_billed) == ("about a", "batch", 0)
    assert here.sent_live == []


@pytest.mark.parametrize(("kind", "odd"), _by_kind(WITHOUT, WITHOUT_OF))
async def test_a_line_that_cannot_be_read_is_sent_live_and_reported(kind, odd, autojump_clock):
    """L3."""
    provider = BatchProvider(kind)
    provider.odd = {"a": odd}
    async with batch_stage(provider) as here:
        found = await here.ask_all("a", "b")
    assert (texts(found), here.sent_live) == (about("a", "b"), ["a"])
    assert [found[prompt].maybe_billed for prompt in "ab"] == [1, 0]


@pytest.mark.parametrize("is_error_first", [True, False])
async def test_a_line_with_a_response_and_an_error_has_the_response(is_error_first, autojump_clock):
    provider = BatchProvider()
    async with batch_stage(provider) as here:

        def both(content):
            usual = json.loads(content)
            error = {"code": "x", "message": "y"}
            lines = [usual | {"response": None, "error": error}, usual]
            return "\n".join(map(json.dumps, lines if is_error_first else lines[::-1])).encode()

        provider.downloads = [both]
        found = await here.ask("a")
    assert (found.text, found.route, here.sent_live) == ("about a", "batch", [])


async def test_a_paid_line_that_fails_may_have_been_billed(autojump_clock):
    """L3: the body of a success that is an error."""
    provider = BatchProvider()
    error = {"error": {"message": "no", "type": "invalid_request_error"}}
    provider.odd = {
        "a": lambda line: line | {"response": {"status_code": 201, "body": error}},
    }
    async with batch_stage(provider, live_error=BadRequest("no")) as here:
        found = await here.ask_all("a")
    assert found["a"].billed == "maybe"


@pytest.mark.parametrize("kind", [*KINDS, *MORE_KINDS])
async def test_the_results_of_a_batch_in_an_unknown_state_are_read(kind, autojump_clock):
    provider = BatchProvider(kind)
    provider.final_word = "finished"
    async with batch_stage(provider) as here:
        found = await here.ask_all("a", "b")
    assert (texts(found), here.sent_live) == (about("a", "b"), [])
    assert trio.current_time() < 1000


@pytest.mark.parametrize("fate", ["malformed", "missing", "paid"])
async def test_what_a_caller_that_left_may_have_been_billed_for_is_reported_to_the_next(
    fate, autojump_clock
):
    provider = BatchProvider("together", fates={"a": fate} if fate != "paid" else {})
    provider.odd = {"a": WITHOUT["an error with a usage"]} if fate == "paid" else {}
    async with batch_stage(provider, late_s=60.0) as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leaving, 50.0, here.ask, "a")
            nursery.start_soon(here.ask, "b")
        await trio.sleep(1000)
        provider.fates, provider.odd = {}, {}
        found = await here.ask("a")
    assert (found.text, found.route, found.maybe_billed) == ("about a", "batch", 1)
    assert len(provider.batches) == 2


async def test_an_error_after_a_line_that_may_have_been_billed_says_so(autojump_clock):
    provider = BatchProvider(fates={"a": "malformed"})
    async with batch_stage(provider, live_error=BadRequest("no")) as here:
        found = await here.ask_all("a")
    assert (str(found["a"]), found["a"].billed) == ("no", "maybe")
