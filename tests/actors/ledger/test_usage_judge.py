"""Rule L13: a usage that the request cannot have taken is bounded, and stops nothing."""

from decimal import Decimal

import attrs
import httpx
import pytest
import trio
from fakes import completion_json
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    Budget,
    Choice,
    Endpoint,
    LedgerPolicy,
    Limits,
    Request,
    ToolCall,
    TroupeSettings,
    Usage,
    open_troupe,
)
from callsheet.actors.ledger.bound import most_usage
from callsheet.actors.ledger.judge import judge_usage
from callsheet.actors.vendors.token_counts import TokenCounts

HELLO = Request.of("Hello", model="gpt-4o", max_tokens=50)
HUGE = 2**63


def test_a_usage_that_is_possible_stays_as_it_is():
    for usage in (Usage(5, 50), Usage(3000, 40), Usage(5, 40_000, reasoning_tokens=39_960)):
        judged = judge_usage(usage, HELLO)
        assert (judged.usage, judged.doubt, judged.is_plausible) == (usage, "", True)
    assert judge_usage(None, HELLO).usage is None


def test_a_little_more_than_the_limit_is_believed_and_reported():
    """Some servers ignore the limit, and charge for what they have generated."""
    judged = judge_usage(Usage(5, 1000), HELLO)
    assert (judged.usage, judged.is_plausible) == (Usage(5, 1000), True)
    assert judged.doubt == "1000 tokens of the response are more than its 50"


def test_a_response_of_no_tokens_is_not_known():
    assert judge_usage(Usage(), HELLO).usage is None
    assert judge_usage(Usage(5, 0), HELLO).usage == Usage(5, 0)


def test_more_than_the_request_allows_is_bounded():
    bound = most_usage(HELLO, None, most_output=1)
    judged = judge_usage(Usage(HUGE, HUGE, cached_tokens=HUGE), HELLO, "a doubt")
    assert (judged.usage.input_tokens, judged.usage.output_tokens) == (bound.input_tokens, 50)
    assert judged.usage.cached_tokens == bound.input_tokens
    assert not judged.is_plausible
    assert judged.doubt.startswith(f"a doubt; {HUGE} tokens of the prompt are more than its")


def test_a_prompt_that_the_provider_adds_to_has_a_far_bound():
    """Files and searches of the provider are part of the prompt, and not of the request."""
    searching = Request.of("x", model="m", extra_body={"web_search_options": {}})
    assert judge_usage(Usage(400_000, 5), searching).is_plausible
    assert judge_usage(Usage(400_000, 5), Request.of("x", model="perplexity/sonar")).is_plausible
    assert not judge_usage(Usage(400_000, 5), Request.of("x", model="m")).is_plausible
    assert not judge_usage(Usage(HUGE, 5), searching).is_plausible


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 5, "completion_tokens": 0},
        {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5},
    ],
)
@pytest.mark.parametrize("text", ["Twelve bytes", ""])
async def test_a_text_has_tokens_whatever_is_reported(autojump_clock, usage, text):
    """Each byte counts as one token, since no token has less than a byte."""

    def answer(_):
        return httpx.Response(200, json=completion_json(text, usage=usage))

    settings = {"transport": httpx.MockTransport(answer), "ledger": LedgerPolicy()}
    async with open_troupe(TroupeSettings(endpoint=Endpoint("http://p"), **settings)) as troupe:
        response = await troupe.complete(HELLO)
        costs = (await troupe.costs()).totals
    assert response.usage == Usage(5, len(text))
    assert bool(response.usage_doubt) == bool(text)
    assert costs.spent.output_tokens == len(text)


def test_calls_of_tools_and_reasoning_are_output_too():
    said = Choice("", reasoning="Hm", tool_calls=(ToolCall("add", "{}"),))
    judged = judge_usage(Usage(5), HELLO, "a doubt", (said,))
    assert (judged.usage.output_tokens, judged.is_plausible) == (7, False)
    assert judged.doubt == "a doubt; no tokens are reported for a response of 7 bytes"
    assert judge_usage(Usage(), HELLO, "", (said,)).usage is None, "nothing is known (L13)"


COUNT = st.one_of(st.integers(0, 10**5), st.integers(0, 2**70))


@given(st.builds(TokenCounts, *[COUNT] * 6))
def test_no_usage_leaves_the_range_of_a_file(counts):
    """The sums of 10**11 such calls fit into the 64 bits of SQLite."""
    request = Request.of("Hello", model="m")  # without any limit
    judged = judge_usage(counts.usage, request).usage or Usage()
    assert max(attrs.astuple(judged)) <= 2 * 10_000_000
    assert judged.input_tokens <= counts.usage.input_tokens
    assert judged.output_tokens <= counts.usage.output_tokens


@pytest.mark.parametrize("count", [HUGE, 10**18, 10**30, 1e300, 10**9])
async def test_one_nonsense_usage_stops_neither_the_ledger_nor_the_limiter(count, tmp_path):
    """The number once stopped the ledger's file, and the troupe with it."""
    counts = iter([count])

    def respond(_):
        usage = {"prompt_tokens": 5, "completion_tokens": next(counts, 5)}
        return httpx.Response(200, json=completion_json("hi", usage=usage))

    settings = TroupeSettings(
        endpoint=Endpoint("http://p/v1", "sk-x"),
        transport=httpx.MockTransport(respond),
        streaming=False,
        limits=Limits(tpm=100_000),
        ledger=LedgerPolicy(path=tmp_path / "ledger", budgets=[Budget(1)]),
    )
    async with open_troupe(settings) as troupe:
        first = await troupe.complete(HELLO)
        with trio.fail_after(60):
            later = [await troupe.complete(HELLO) for _ in range(6)]
        costs = await troupe.costs()
    assert first.usage == Usage(5, 50)
    assert "tokens of the response are more than its 50" in first.usage_doubt
    assert [answer.usage_doubt for answer in later] == [""] * 6
    assert costs.totals.spent.output_tokens == 50 + 6 * 5
    assert costs.totals.spent.usd < Decimal("0.01")


@pytest.mark.parametrize(("cost", "reported"), [(1e300, None), (20_000, Decimal(20_000))])
async def test_a_nonsense_cost_is_not_believed(autojump_clock, cost, reported):
    """OpenRouter's `usage.cost` counts where it can be one; else the table of prices does."""
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "cost": cost}
    reply = completion_json("hi", usage=usage)
    settings = TroupeSettings(
        endpoint=Endpoint("http://p/v1", "sk-x", vendor="openrouter"),
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=reply)),
        streaming=False,
        ledger=LedgerPolicy(),
    )
    async with open_troupe(settings) as troupe:
        answer = await troupe.complete(HELLO)
    assert answer.reported_cost_usd == reported
    assert answer.cost_usd == answer.listed_cost_usd
