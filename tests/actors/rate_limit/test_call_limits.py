"""The limiter without an actor: driven through random days, against what a provider would say."""

import itertools
from math import inf

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Limits, Request
from callsheet.actors.rate_limit.bucket import Limit
from callsheet.actors.rate_limit.core import Limiter as WholeLimiter
from callsheet.actors.rate_limit.estimator import Estimate
from callsheet.actors.rate_limit.limits import Cost, Impossible, Rate
from callsheet.actors.rate_limit.scope import PermitRequest


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits, and what became of it."""

    number: int
    cost: Cost
    not_before: float = -inf
    is_renewal: bool = False
    done: bool = False
    went_at: float | None = None
    reservation: object = None


def tokens_of(count):
    return Cost(tokens=count)


def bucket_of(per_minute, burst_s, now):
    """The bucket of a limit of requests."""
    return Limit(Rate("requests", per_minute, burst_s=burst_s), now).bucket


class Limiter(WholeLimiter):
    """One model and one lane, in the words of this module."""

    def push(self, waiter, cost, now=0.0):
        super().push(waiter, PermitRequest("m", cost), now)

    def pop(self, now):
        grant = super().pop(now)
        if grant is None:
            return None
        grant.waiting.reservation = self.last = grant.reservation
        return grant.waiting

    def push_renewal(self, waiter, cost, not_before):
        if not hasattr(self, "last"):  # it is let through elsewhere
            self.last = self._take(self._scope("m", 0.0), Cost(0.0), 0.0)
        super().push_renewal(waiter, attrs.evolve(self.last, cost=cost), not_before)

    def release(self, waiter=None, now=0.0, *, happened=True):
        reservation = self.last if waiter is None else waiter.reservation
        super().release(reservation, now, happened=happened)

    def park(self, until):
        self._scope("m", 0.0).parked_until = max(self._scope("m", 0.0).parked_until, until)


class ProviderBucket:
    """How a provider refills and refuses, step by step."""

    def __init__(self, per_minute, burst_s):
        self.rate = per_minute / 60
        self.capacity = max(1.0, self.rate * burst_s)
        self.level = self.capacity
        self.at = 0.0

    def admits(self, amount, now):
        self.level = min(self.capacity, self.level + self.rate * (now - self.at))
        self.at = now
        if self.level < min(amount, self.capacity) - 1e-6 * self.rate - 1e-9:
            return False
        self.level -= amount
        return True


class Day:
    """A limiter and a clock that goes from one instant it names to the next."""

    def __init__(self, limits):
        self.limits = limits
        self.limiter = Limiter(limits, 0.0)
        self.now = 0.0
        self.parked_until = -inf
        self.waiting = []
        self.went = []
        self.under_way = []
        self.wakes = 0
        self.vain_wakes = 0

    def push(self, tokens):
        waiter = Waiter(len(self.waiting), tokens_of(tokens))
        self.waiting.append(waiter)
        self.limiter.push(waiter, waiter.cost, self.now)

    def renew(self, at, delay):
        if not self.under_way:
            return
        cost = self.under_way[at % len(self.under_way)].cost
        waiter = Waiter(len(self.waiting), cost, self.now + delay, is_renewal=True)
        self.waiting.append(waiter)
        self.limiter.push_renewal(waiter, cost, waiter.not_before)

    def cancel(self, at):
        left = [waiter for waiter in self.waiting if not waiter.done and waiter.went_at is None]
        if left:
            left[at % len(left)].done = True

    def release(self, at):
        if self.under_way:
            waiter = self.under_way.pop(at % len(self.under_way))
            self.limiter.release(waiter, self.now)

    def park(self, seconds):
        self.parked_until = max(self.parked_until, self.now + seconds)
        self.limiter.park(self.now + seconds)

    def let_through(self):
        """Pop whoever may go now; the instant to come back at."""
        while (waiter := self.limiter.pop(self.now)) is not None:
            assert not waiter.done, "nobody waits for it any more"
            assert waiter.went_at is None
            assert self.now >= max(self.parked_until, waiter.not_before)
            waiter.went_at = self.now
            self.went.append(waiter)
            if not waiter.is_renewal:
                self.under_way.append(waiter)
            assert self.limiter.in_flight == len(self.under_way) <= self.limits.in_flight
        back_at = self.limiter.next_at(self.now)
        assert back_at > self.now, "whoever comes back at once would come back for ever"
        if 1e-3 < back_at - self.now < inf:
            half = self.limiter.pop((self.now + back_at) / 2)
            assert half is None, "it could have gone before next_at"
        return back_at

    def until(self, end):
        """Let time pass, waking at the instants the limiter names and at no other."""
        vain = 0
        while (back_at := self.let_through()) <= end and back_at < inf:
            self.now = back_at
            self.wakes += 1
            before = len(self.went)
            self.let_through()
            vain = vain + 1 if len(self.went) == before else 0
            assert vain <= 2, "it wakes again and again for nobody"
            self.vain_wakes += vain > 0
        self.now = end if end < inf else self.now

    def check(self):
        """What went, went in order, and no provider with these limits would have refused it."""
        first_time = [waiter.number for waiter in self.went if not waiter.is_renewal]
        assert first_time == sorted(first_time), "first come, first served"
        burst_s = self.limits.burst_s
        for per_minute, amount in (
            (self.limits.rpm, lambda cost: cost.requests),
            (self.limits.tpm, lambda cost: cost.tokens),
        ):
            if per_minute is None:
                continue
            provider = ProviderBucket(per_minute, burst_s)
            for waiter in self.went:
                assert provider.admits(amount(waiter.cost), waiter.went_at)
            self._check_every_interval(bucket_of(per_minute, burst_s, 0.0), amount)

    def _check_every_interval(self, bucket, amount):
        """In no interval more than the depth and what is refilled in it; a debt comes on top."""
        for first in range(len(self.went)):
            sum_before = 0.0
            for last in self.went[first:]:
                cost = amount(last.cost)
                seconds = last.went_at - self.went[first].went_at
                allowed = bucket.depth + bucket.rate * seconds
                assert sum_before + min(cost, bucket.depth) <= allowed + 1e-6 * bucket.depth
                sum_before += cost


some_limits = st.builds(
    Limits,
    rpm=st.none() | st.sampled_from([1.0, 6.0, 60.0, 600.0, 6000.0]),
    tpm=st.none() | st.sampled_from([100.0, 1_000.0, 60_000.0]),
    in_flight=st.integers(1, 5),
    burst_s=st.sampled_from([0.0, 0.5, 1.0, 10.0, 60.0]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 100)),
        st.tuples(st.just("push"), st.integers(0, 100)),
        st.tuples(st.just("renew"), st.integers(0, 9), st.sampled_from([0.0, 0.3, 2.0, 30.0])),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("park"), st.sampled_from([0.0, 0.7, 5.0])),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.01, 0.1, 1.0, 7.0])),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(some_limits, steps)
def test_through_any_day_the_provider_would_refuse_nobody_and_nobody_is_forgotten(limits, steps):
    day = Day(limits)
    for name, *arguments in steps:
        if name == "pass":
            day.until(day.now + arguments[0])
        else:
            getattr(day, name)(*arguments)
            day.let_through()
    while True:
        day.until(inf)
        if not day.under_way:
            break
        while day.under_way:
            day.release(0)
    left = [waiter for waiter in day.waiting if not waiter.done and waiter.went_at is None]
    assert not left, "no starvation: whoever still wants to has gone"
    assert day.limiter.waiting == 0
    assert day.limiter.in_flight == 0
    day.check()


@given(some_limits, st.lists(st.integers(0, 100), min_size=1, max_size=40))
def test_a_crowd_wakes_the_limiter_once_for_each_who_goes(limits, tokens):
    day = Day(attrs.evolve(limits, in_flight=100))
    for cost in tokens:
        day.push(cost)
    day.until(inf)
    assert len(day.went) == len(tokens)
    assert day.wakes <= len(tokens)
    assert day.vain_wakes == 0, "it wakes at the instant that somebody may go (L4)"


@given(
    rpm=st.floats(1, 1e6),
    burst_s=st.floats(0, 60),
    start=st.floats(0, 1e6),
    count=st.integers(2, 60),
)
def test_who_waits_at_a_limit_goes_as_fast_as_it_allows(rpm, burst_s, start, count):
    limiter = Limiter(Limits(rpm=rpm, burst_s=burst_s, in_flight=1000), start)
    for number in range(count):
        limiter.push(Waiter(number, tokens_of(0)), tokens_of(0))
    now, went, looks = start, 0, 0
    while went < count:
        looks += 1
        if limiter.pop(now) is None:
            now = limiter.next_at(now)
        else:
            went += 1
    depth = bucket_of(rpm, burst_s, 0.0).depth
    shortest = max(0.0, count - depth) * 60 / rpm
    assert now - start == pytest.approx(shortest, rel=1e-6, abs=1e-6)
    assert looks <= 4 * count


def test_the_bucket_stays_one_below_that_of_a_provider_with_the_same_burst():
    assert bucket_of(600, 1.0, 0.0).depth == 9
    assert bucket_of(60_000, 1.0, 0.0).depth == 999


def test_a_bucket_is_never_too_shallow_for_one():
    for per_minute in (1, 30, 60, 119):
        bucket = bucket_of(per_minute, 1.0, 0.0)
        assert bucket.ready_at(1, 0.0) == 0.0
        bucket.take(1, 0.0)
        assert bucket.ready_at(1, 0.0) == pytest.approx(60 / per_minute)


def test_a_call_larger_than_the_bucket_goes_when_it_is_full_and_the_rate_is_kept():
    limiter = Limiter(Limits(tpm=600, burst_s=1.0), 0.0)  # 10 tokens a second, depth 9
    for number in range(3):
        limiter.push(Waiter(number, tokens_of(100)), tokens_of(100))
    assert limiter.pop(0.0).number == 0
    assert limiter.pop(0.0) is None
    assert limiter.next_at(0.0) == pytest.approx(10.0)
    assert limiter.pop(9.99) is None
    assert limiter.pop(10.0).number == 1
    assert limiter.next_at(10.0) == pytest.approx(20.0)


def test_a_call_of_the_whole_limit_can_go_and_one_token_more_never():
    limiter = Limiter(Limits(tpm=600), 0.0)
    limiter.push(Waiter(0, tokens_of(600)), tokens_of(600))
    with pytest.raises(Impossible, match=r"601 tokens, more than the limit of 600"):
        limiter.push(Waiter(1, tokens_of(601)), tokens_of(601))
    assert limiter.pop(0.0).number == 0
    assert limiter.waiting == 0, "what is refused does not wait"


def test_the_slower_of_the_two_limits_decides():
    limiter = Limiter(Limits(rpm=600, tpm=600, burst_s=0), 0.0)
    for number, tokens in enumerate((1, 20, 1)):
        limiter.push(Waiter(number, Cost(tokens)), Cost(tokens))
    limiter.pop(0.0)
    assert limiter.next_at(0.0) == pytest.approx(0.1)
    assert limiter.pop(0.1).number == 1
    assert limiter.next_at(0.1) == pytest.approx(2.1), "twenty tokens, and one more"


def test_a_head_that_is_given_up_makes_room_at_once():
    limiter = Limiter(Limits(tpm=600, burst_s=1), 0.0)
    first, big, small = (Waiter(number, tokens_of(cost)) for number, cost in enumerate((5, 600, 1)))
    for waiter in (first, big, small):
        limiter.push(waiter, waiter.cost)
    assert limiter.pop(0.0) is first
    assert limiter.pop(0.0) is None, "first come, first served"
    big.done = True
    assert limiter.next_at(0.0) == 0.0
    assert limiter.pop(0.0) is small


def test_a_renewal_goes_before_those_who_wait_and_needs_no_place_in_flight():
    limiter = Limiter(Limits(in_flight=1), 0.0)
    for number in range(2):
        limiter.push(Waiter(number, tokens_of(1)), tokens_of(1))
    assert limiter.pop(0.0).number == 0
    assert limiter.pop(0.0) is None
    renewal = Waiter(9, tokens_of(1), 2.0)
    limiter.push_renewal(renewal, renewal.cost, 2.0)
    assert limiter.next_at(0.0) == 2.0
    assert limiter.pop(1.99) is None
    assert limiter.pop(2.0) is renewal
    assert limiter.next_at(2.0) == inf, "it takes a release"
    limiter.release()
    assert limiter.pop(2.0).number == 1


def test_renewals_go_in_the_order_of_their_times_and_then_of_their_coming():
    limiter = Limiter(Limits(), 0.0)
    for number, at in enumerate((3.0, 1.0, 1.0)):
        limiter.push_renewal(Waiter(number, tokens_of(1)), tokens_of(1), at)
    found = []
    now = 0.0
    while now < inf:
        while (waiter := limiter.pop(now)) is not None:
            found.append((waiter.number, now))
        now = limiter.next_at(now)
    assert found == [(1, 1.0), (2, 1.0), (0, 3.0)]


def test_a_park_holds_everybody_and_a_shorter_one_does_not_end_it():
    limiter = Limiter(Limits(), 0.0)
    limiter.push(Waiter(0, tokens_of(1)), tokens_of(1))
    limiter.push_renewal(Waiter(1, tokens_of(1)), tokens_of(1), 0.5)
    limiter.park(5.0)
    limiter.park(2.0)
    assert limiter.pop(4.9) is None
    assert limiter.next_at(0.0) == 5.0
    assert [limiter.pop(5.0).number, limiter.pop(5.0).number] == [1, 0]


def test_a_call_that_was_never_sent_gives_back_what_it_took():
    limiter = Limiter(Limits(rpm=60, tpm=60, burst_s=1), 0.0)
    for number in range(2):
        limiter.push(Waiter(number, tokens_of(1)), tokens_of(1))
    limiter.pop(0.0)
    assert limiter.pop(0.0) is None
    limiter.release(happened=False)
    assert limiter.pop(0.0).number == 1


def test_a_late_refund_gives_back_no_more_than_is_still_missing():
    """Had the first never gone, the bucket would have run over meanwhile; the second took that."""
    limiter = Limiter(Limits(rpm=60, burst_s=1), 0.0)
    provider = ProviderBucket(60, 1)
    for number in range(3):
        limiter.push(Waiter(number, tokens_of(1)), tokens_of(1))
    first = limiter.pop(0.0)
    assert first.number == 0
    assert limiter.pop(1.0).number == 1
    assert provider.admits(1, 1.0)
    limiter.release(first, 1.0, happened=False)  # it was given up before it was sent
    third = limiter.pop(1.0)
    assert third is None or provider.admits(1, 1.0), "the provider would answer 429"


@settings(deadline=None)
@given(
    rpm=st.sampled_from([6, 60, 120, 240, 600]),
    burst_s=st.sampled_from([0.0, 1.0, 3.0, 5.0]),
    calls=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]),  # seconds after the one before
            st.none() | st.sampled_from([0.0, 0.2, 1.0, 2.5]),  # given up so long after it went
        ),
        max_size=40,
    ),
)
def test_refunds_never_let_through_more_than_the_provider_would_take(rpm, burst_s, calls):
    """Of those that were let through, some are never sent: as if they had not been."""
    limiter = Limiter(Limits(rpm=rpm, burst_s=burst_s, in_flight=1000), 0.0)
    came = list(itertools.accumulate(after for after, _ in calls))
    sent, refunds, gone, now, number = [], [], {}, 0.0, 0
    while number < len(calls) or limiter.waiting or refunds:
        while number < len(calls) and came[number] <= now:
            limiter.push(Waiter(number, tokens_of(0)), tokens_of(0), now)
            number += 1
        while refunds and min(refunds)[0] <= now:
            refund = min(refunds)
            refunds.remove(refund)
            limiter.release(gone.pop(refund[1:]), now, happened=False)
        while (waiter := limiter.pop(now)) is not None:
            patience = calls[waiter.number][1]
            if patience is None:
                sent.append(now)
            else:
                refunds.append((now + patience, now, waiter.number))
                gone[now, waiter.number] = waiter
        later = [limiter.next_at(now), *came[number : number + 1], *(at for at, *_ in refunds)]
        now = max(now, min(later, default=now))
    depth = bucket_of(rpm, burst_s, 0.0).depth
    provider = ProviderBucket(rpm, 60 * depth / rpm)  # no deeper than the limiter's own
    for at in sent:
        assert provider.admits(1, at)


def test_two_late_refunds_give_back_no_more_than_one_bucket_holds():
    limiter = Limiter(Limits(rpm=60, burst_s=3), 0.0)  # a depth of 2, one a second
    for number in range(6):
        limiter.push(Waiter(number, tokens_of(0)), tokens_of(0))
    gone = [limiter.pop(0.0), limiter.pop(0.0)]
    assert [waiter.number for waiter in gone] == [0, 1]
    assert limiter.pop(1.0).number == 2
    for waiter in gone:
        limiter.release(waiter, 1.0, happened=False)
    # Had the two never gone, the bucket would have been full, with 2, when the third took 1.
    assert limiter.pop(1.0).number == 3
    assert limiter.pop(1.0) is None


def test_those_given_up_in_the_middle_of_the_queue_do_not_pile_up():
    """A pause of two minutes with impatient callers must not fill memory with their prompts."""
    limiter = Limiter(Limits(in_flight=1), 0.0)
    limiter.park(120.0)
    limiter.push(Waiter(0, tokens_of(1)), tokens_of(1))
    for number in range(1, 20_000):
        waiter = Waiter(number, tokens_of(1))
        limiter.push(waiter, waiter.cost)
        waiter.done = True
        limiter.next_at(0.0)
    assert limiter.waiting < 2_000


# ------------------------------------------------------------------ what a call counts for


def counted(request, **limits):
    return Limits(**limits).cost(request, Estimate(90, 40)).tokens


def test_a_call_counts_for_the_larger_of_prompt_and_answer_or_for_both():
    request = Request.of("x" * 400, model="m", max_tokens=500)
    assert counted(request) == 500
    assert counted(request, token_charge="sum") == 604
    assert counted(request, token_charge="used") == 130
    assert counted(attrs.evolve(request, max_tokens=None)) == 104


def test_every_answer_that_a_call_may_have_counts():
    request = Request.of("x" * 400, model="m", max_tokens=500)
    assert counted(attrs.evolve(request, n=3)) == 1500
    told = attrs.evolve(request, max_tokens=None, extra_body={"max_completion_tokens": 700, "n": 2})
    assert counted(told) == 1400
    texts = Request(model="m", task="completion", inputs=["x" * 40, "y" * 40], max_tokens=100)
    assert counted(texts) == 200


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_the_count_is_never_below_a_provider_that_reckons_four_characters_a_token(turns):
    request = Request(model="m", messages=[ChatMessage("user", text) for text in turns])
    assert counted(request) >= -(-sum(map(len, turns)) // 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *itertools.product(("rpm", "tpm"), (0, -1, float("nan"))),
        ("in_flight", 0),
        ("burst_s", -1),
        ("burst_s", float("nan")),
        ("token_charge", "both"),
    ],
)
def test_limits_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        Limits(**{field: value})


def test_its_repr_says_how_it_stands():
    limiter = Limiter(Limits(), 0.0)
    limiter.push(Waiter(0, tokens_of(1)), tokens_of(1))
    limiter.push(Waiter(1, tokens_of(1)), tokens_of(1))
    limiter.pop(0.0)
    limiter.push_renewal(Waiter(2, tokens_of(1)), tokens_of(1), 9.0)
    assert repr(limiter) == "<Limiter 1 in flight, 2 waiting>"
