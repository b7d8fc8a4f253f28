"""The book: it balances, no reservation is lost, and every sum is the sum of its parts."""

from decimal import Decimal
from fractions import Fraction

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from callsheet.actors import CallContext, ChatMessage, Request, Usage
from callsheet.actors.ledger.book import Book, CallOutcome
from callsheet.actors.ledger.bound import most_usage, most_usd
from callsheet.actors.ledger.budget_counters import Excess
from callsheet.actors.ledger.budgets import Budget
from callsheet.actors.ledger.cost_sums import CostTotals
from callsheet.actors.ledger.entries import (
    ACCOUNTS,
    COST_DIMENSIONS,
    NOTHING,
    Amount,
    CostLabel,
    Payer,
    cost_labels,
)
from callsheet.actors.vendors.prices import Price, PriceBook, default_prices

usd = st.decimals(0, 10, places=9)
counts = st.integers(0, 10**6)
usages = st.builds(lambda read, more, out: Usage(read + more, out, read), counts, counts, counts)
amounts = st.builds(Amount.of, usages, st.none() | usd)
payers = st.builds(
    CostLabel,
    st.sampled_from(["c1", "c2"]),
    st.sampled_from(["", "p1", "p2"]),
    st.sampled_from(["", "t1", "t2"]),
    st.sampled_from(["m1", "m2"]),
    st.sampled_from(["2026-11-25", "2026-11-26"]),
    st.sampled_from(["live", "flex"]),
)


def total(amounts):
    return sum(amounts, NOTHING)


@given(amounts, st.integers(1, 40))
def test_even_shares_add_up_to_the_whole(amount, shares):
    parts = amount.split(shares)
    assert len(parts) == shares
    assert total(parts).of_calls(1) == amount.of_calls(1)
    exact = Fraction(amount.usd) / shares
    assert all(abs(Fraction(part.usd) - exact) <= Fraction(1, 10**12) for part in parts)
    assert all(part.cached_tokens <= part.input_tokens for part in parts)
    assert parts[0].usd >= parts[-1].usd
    assert parts[0].input_tokens - parts[-1].input_tokens in (0, 1)
    assert all(part.calls == amount.calls for part in parts)


def test_a_third_of_a_cent_is_split_with_the_rest_to_the_first():
    parts = Amount(Decimal("0.01"), input_tokens=11).split(3)
    assert [part.usd for part in parts] == [
        Decimal("0.003333333334"),
        Decimal("0.003333333333"),
        Decimal("0.003333333333"),
    ]
    assert [part.input_tokens for part in parts] == [4, 4, 3]


@given(st.lists(st.decimals(0, 10**15, places=30), max_size=20))
def test_sums_are_not_rounded(values):
    found = total(map(Amount, values)).usd
    assert Fraction(found) == sum(map(Fraction, values))


class Books(RuleBasedStateMachine):
    """Any calls, shared or not, that end in any way, compared with a simple model."""

    keys = Bundle("keys")

    @initialize(limit=st.none() | usd)
    def begin(self, limit):
        self.budgets = [] if limit is None else [Budget(limit, allow_unknown=True)]
        self.book = Book(self.budgets)
        self.open = {}  # {key: (lines, attempts)}
        self.posted = []  # every entry so far
        self.number = 0

    def take(self, transaction):
        assert transaction.is_balanced
        assert transaction.at == 1.0
        self.posted += transaction.entries

    @rule(target=keys, lines=st.lists(st.builds(Payer, payers, amounts), min_size=1, max_size=4))
    def reserve(self, lines):
        self.number += 1
        key = str(self.number)
        try:
            self.take(self.book.reserve(key, lines, 1.0))
        except Excess as excess:
            assert self.used() + total(line.bound for line in lines).usd > self.budgets[0].usd
            left = self.budgets[0].usd - self.used()
            assert excess.state.left == left  # noqa: PT017  # it may be raised or not
        else:
            self.open[key] = (lines, 1)
        return key

    @rule(key=keys)
    def extend(self, key):
        if key not in self.open:
            assert self.book.extend(key, 1.0) is None
            return
        lines, attempts = self.open[key]
        try:
            self.take(self.book.extend(key, 1.0))
        except Excess:
            assert self.used() + total(line.bound for line in lines).usd > self.budgets[0].usd
        else:
            self.open[key] = (lines, attempts + 1)

    @rule(
        key=keys,
        spent=st.none() | amounts,
        maybe=st.integers(0, 3),
        is_unknown=st.booleans(),
        response=st.tuples(st.none() | st.just("other"), st.none() | st.just("batch")),
    )
    def settle(self, key, spent, maybe, is_unknown, response):
        """Settle a call; a second settlement has no effect."""
        outcome = CallOutcome(spent, maybe, *response, is_unknown=is_unknown)
        transaction = self.book.settle(key, outcome, 1.0)
        if key not in self.open:
            assert transaction is None
            return
        lines, _ = self.open.pop(key)
        self.take(transaction)
        booked = dict.fromkeys(ACCOUNTS, NOTHING)
        for entry in transaction.entries:
            booked[entry.account] += entry.amount
        bound = total(line.bound for line in lines)
        paid = (bound if is_unknown else NOTHING) if spent is None else spent
        account, other = ("unknown", "spent") if is_unknown else ("spent", "unknown")
        assert booked[account].of_calls(0) == paid.of_calls(0)
        assert booked[other] == NOTHING
        assert booked["maybe_billed"].of_calls(0) == bound.of_calls(0).times(maybe)
        has_response = spent is not None or is_unknown
        ended = account if has_response else "maybe_billed" if maybe else "available"
        assert booked[ended].calls >= len(lines)

    @rule(key=consumes(keys))
    def forget(self, key):
        pass

    @precondition(lambda self: self.open)
    @rule()
    def reserve_twice(self):
        key, (lines, _) = next(iter(self.open.items()))
        with pytest.raises(ValueError, match="already"):
            self.book.reserve(key, lines, 1.0)

    def used(self):
        return total(entry.amount for entry in self.posted if entry.account != "available").usd

    @invariant()
    def everything_that_came_has_left_somewhere(self):
        if hasattr(self, "posted"):
            assert total(entry.amount for entry in self.posted) == NOTHING

    @invariant()
    def what_is_reserved_is_that_of_the_open_ones(self):
        if not hasattr(self, "posted"):
            return
        reserved = self.book.statistics().totals.reserved
        expected = total(
            line.bound.of_calls(0).times(attempts) + attrs.evolve(NOTHING, calls=line.bound.calls)
            for lines, attempts in self.open.values()
            for line in lines
        )
        assert attrs.evolve(reserved, unpriced_calls=0) == expected
        assert self.book.open_calls == len(self.open)

    @invariant()
    def the_sums_by_anything_are_the_totals(self):
        if not hasattr(self, "posted"):
            return
        statistics = self.book.statistics()
        for dimension in COST_DIMENSIONS:
            for account in ("spent", "reserved", "unknown", "maybe_billed"):
                parts = (getattr(sums, account) for sums in statistics.by[dimension].values())
                whole = getattr(statistics.totals, account)
                assert total(parts) == whole
                assert whole == total(
                    entry.amount for entry in self.posted if entry.account == account
                )
        for state in statistics.budgets:
            assert state.used == self.used()
            assert state.left == state.budget.usd - state.used


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=settings.default.max_examples // 2, stateful_step_count=25, deadline=None
)


# ------------------------------------------------------------------ budgets


def line(dollars, *, unpriced=False, **heading):
    heading = {"call": "c", "model": "m", "day": "2026-11-26"} | heading
    amount = Amount.of(Usage(10, 10), None if unpriced else Decimal(dollars))
    return Payer(CostLabel(**heading), amount)


def allows(book, key, *lines):
    try:
        book.reserve(key, lines, 0.0)
    except Excess:
        return False
    return True


def test_a_total_is_used_to_its_last_cent_and_no_further():
    book = Book([Budget("1")])
    assert allows(book, "a", line("0.75"))
    assert not allows(book, "b", line("0.250000000001"))
    assert allows(book, "c", line("0.25"))
    assert not allows(book, "d", line("0.000000000001"))
    assert allows(book, "free", line("0"))
    book.settle("a", CallOutcome(Amount.of(Usage(1, 1), Decimal("0.5")), 0), 0.0)
    assert allows(book, "e", line("0.25")), "the money that was not spent is available again"


def test_each_post_tenant_model_and_day_has_its_own():
    for per in ("post", "tenant", "model", "day"):
        book = Book([Budget(1, per=per)])
        assert allows(book, "a", line("0.9", **{per: "2026-11-01"}))
        assert not allows(book, "b", line("0.2", **{per: "2026-11-01"}))
        assert allows(book, "c", line("0.2", **{per: "2026-11-02"}))


def test_a_budget_has_a_pattern_of_accounts_and_a_period():
    book = Book([Budget(1, per="tenant", match="team-*", period="month")])
    assert allows(book, "a", line("5", tenant="other"))
    assert allows(book, "b", line("0.9", tenant="team-a"))
    assert allows(book, "c", line("0.9", tenant="team-b"))
    assert not allows(book, "d", line("0.9", tenant="team-a", day="2026-11-30"))
    assert allows(book, "e", line("0.9", tenant="team-a", day="2026-12-01"))
    names = [state.name for state in book.statistics().budgets]
    assert names == ["team-a 2026-12"], "those of the latest month"
    assert Budget(5, per="tenant", match="team-*", period="day").name == (
        "$5 per tenant (team-*) and day"
    )


def test_a_budget_of_each_call_counts_its_attempts():
    book = Book([Budget("0.25", per="call")])
    assert not allows(book, "dear", line("0.3"))
    assert allows(book, "a", line("0.1"))
    assert allows(book, "b", line("0.1"))
    book.extend("a", 0.0)
    with pytest.raises(Excess) as caught:
        book.extend("a", 0.0)
    assert caught.value.state.left == Decimal("0.05")
    book.settle("a", CallOutcome(None, 2), 0.0)
    assert [state.name for state in book.statistics().budgets] == ["b"]


def test_the_shares_of_a_call_count_for_its_callers():
    book = Book([Budget(1, per="tenant")])
    both = [line("0.6", tenant="a"), line("0.6", tenant="b")]
    assert allows(book, "one", *both)
    assert not allows(book, "two", line("0.1", tenant="a"), line("0.6", tenant="b"))
    assert not allows(book, "all", line("0.3", tenant="a"), line("0.3", tenant="a"))
    assert allows(book, "rest", line("0.2", tenant="a"), line("0.2", tenant="a"))


def test_what_has_no_price_is_held_back_by_a_budget_unless_it_is_allowed():
    assert not allows(Book([Budget(1)]), "a", line(0, unpriced=True))
    assert allows(Book([Budget(1, per="model", match="x*")]), "a", line(0, unpriced=True))
    book = Book([Budget(1, allow_unknown=True)])
    assert allows(book, "a", line(0, unpriced=True))
    reserved = book.statistics().totals.reserved
    assert (reserved.usd, reserved.unpriced_tokens, reserved.unpriced_calls) == (0, 20, 1)


def test_more_than_was_reserved_is_booked_as_it_was_and_ends_the_budget():
    book = Book([Budget(1)])
    assert allows(book, "a", line("0.5"))
    book.settle("a", CallOutcome(Amount.of(Usage(1, 1), Decimal(2)), 0), 0.0)
    (state,) = book.statistics().budgets
    assert (state.used, state.left) == (2, -1)
    assert not allows(book, "b", line("0.1"))


@pytest.mark.parametrize(
    ("settings", "error", "what"),
    [
        ({"usd": 0.1}, TypeError, "usd must be exact"),
        ({"usd": -1}, ValueError, "usd must be US dollars"),
        ({"usd": "NaN"}, ValueError, "usd must be US dollars"),
        ({"usd": "1e999"}, ValueError, "at most 1,000,000,000,000"),
        ({"usd": "1e-999"}, ValueError, "at most 40 places"),
        ({"usd": "five"}, ValueError, "usd must be US dollars, such as .2.50., not .five."),
        ({"usd": "1e99999999999999999999"}, ValueError, "usd must be US dollars, such as"),
        ({"usd": 1, "per": "week"}, ValueError, "per must be one of"),
        ({"usd": 1, "match": "a*"}, ValueError, "match needs per="),
        (
            {"usd": 1, "per": "day", "period": "day"},
            ValueError,
            "period=.ever. is the only one for per=",
        ),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(settings, error, what):
    with pytest.raises(error, match=what):
        Budget(**settings)


# ------------------------------------------------------------------ what is reserved


def test_a_caller_that_shares_a_call_pays_for_it():
    alone = CallContext("c", "p", lane="t")
    assert cost_labels(alone, "m", "d", "live") == (CostLabel("c", "p", "t", "m", "d", "live"),)
    shared = CallContext("pack", shared_by=(alone, CallContext("c2")))
    assert [payer.call for payer in cost_labels(shared, "m", "d", "live")] == ["c", "c2"]


@given(st.text(), st.integers(1, 5), st.none() | st.integers(1, 1000))
def test_what_is_reserved_is_never_less_than_a_tokenizer_can_make_of_it(text, n, most):
    request = Request.of(text, model="m", system="Be brief.", max_tokens=most)
    usage = most_usage(attrs.evolve(request, n=n), None, most_output=4096)
    assert usage.input_tokens >= len((text + "Be brief.").encode("utf-8", "surrogatepass"))
    assert usage.output_tokens == n * (most or 4096)


def test_a_tokenizer_schemas_tools_and_several_prompts_are_counted():
    request = Request.of("word " * 100, model="m", max_tokens=5)
    exact = most_usage(request, lambda text: len(text.split()), most_output=1)
    assert exact == Usage(100 + 32, 5)
    schema = most_usage(attrs.evolve(request, json_schema={"type": "object"}), None, most_output=1)
    assert schema.input_tokens == 500 + 32 + 17
    tools = attrs.evolve(request, extra_body={"tools": ["hammer"], "best_of": 3})
    assert most_usage(tools, None, most_output=1).output_tokens == 15
    assert most_usage(tools, None, most_output=1).input_tokens > 532
    longer = attrs.evolve(request, extra_body={"max_completion_tokens": 9})
    assert most_usage(longer, None, most_output=1).output_tokens == 9
    prompts = Request(model="m", task="completion", inputs=["a", "b"], max_tokens=7)
    assert most_usage(prompts, None, most_output=1).output_tokens == 14
    picture = ChatMessage("user", "x", extra={"content": [{"type": "image_url"}]})
    shown = Request(model="m", messages=[picture])
    assert most_usage(shown, None, most_output=1).input_tokens > 48_169  # of OpenAI's dearest
    assert most_usage(Request.embedding("abc", model="m"), None, most_output=9) == Usage(35)


def test_what_is_dearest_of_what_may_happen_is_reserved():
    prices = PriceBook(
        {
            "m": Price(Decimal(1), Decimal(1), cache_write=Decimal(2)),
            "n": Price(Decimal(9), Decimal(9)),
        }
    )
    million, request = Usage(10**6), Request.of("Hi", model="m")
    assert most_usd(prices, request, million) == 2
    assert most_usd(prices, request, million, [("n", prices)]) == 9
    assert most_usd(prices, request, million, [("unknown", prices)]) is None
    flex = Request(model="gpt-5", messages=request.messages, extra_body={"service_tier": "flex"})
    assert most_usd(default_prices(), flex, million) == Decimal("1.25"), (
        "it may be served at the standard tier"
    )
    fast = attrs.evolve(flex, extra_body={"service_tier": "fast"})
    assert most_usd(default_prices(), fast, million) == Decimal("2.5")
    assert most_usd(default_prices(), attrs.evolve(fast, model="o1-pro"), million) is None
    auto = attrs.evolve(flex, extra_body={"service_tier": "auto"})
    assert most_usd(default_prices(), auto, million) == Decimal("2.5"), "the project decides"


def test_totals_know_nothing_of_what_is_available():
    assert CostTotals().plus("available", Amount(Decimal(1))) == CostTotals()
    assert "1 open" not in repr(Book())
