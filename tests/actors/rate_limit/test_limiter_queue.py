"""The limiter's queue, step by step: order, renewals, pauses, refunds."""

import itertools
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_lane import Limiter, ProviderBucket, Waiter, bucket_of, tokens_of

from callsheet.actors import Limits
from callsheet.actors.rate_limit.limits import Cost, Impossible


def test_the_bucket_stays_one_below_that_of_a_provider_with_the_same_burst():
    assert bucket_of(600, 1.0, 0.0).depth == 9
    assert bucket_of(60_000, 1.0, 0.0).depth == 999


def test_a_bucket_is_never_too_shallow_for_one():
    for per_minute in (1, 30, 60, 119):
        bucket = bucket_of(per_minute, 1.0, 0.0)
        assert bucket.ready_at(1, 0.0) == 0.0
        bucket.take(1, 0.0)
        assert bucket.ready_at(1, 0.0) == pytest.approx(60 / per_minute)


def test_a_call_larger_than_the_bucket_is_sent_when_it_is_full_and_the_rate_is_kept():
    limiter = Limiter(Limits(tpm=600, burst_s=1.0), 0.0)  # 10 tokens a second, depth 9
    for number in range(3):
        limiter.push(Waiter(number, tokens_of(100)), tokens_of(100))
    assert limiter.pop(0.0).number == 0
    assert limiter.pop(0.0) is None
    assert limiter.next_at(0.0) == pytest.approx(10.0)
    assert limiter.pop(9.99) is None
    assert limiter.pop(10.0).number == 1
    assert limiter.next_at(10.0) == pytest.approx(20.0)


def test_a_call_of_the_whole_limit_can_be_sent_and_one_token_more_never():
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


def test_a_renewal_precedes_waiting_calls_and_needs_no_place_in_flight():
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


def test_renewals_are_ordered_by_their_times_and_then_by_arrival():
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


def test_a_park_holds_all_calls_and_a_shorter_one_does_not_end_it():
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
    """Without the first call the bucket would have been full; the second call used that."""
    limiter = Limiter(Limits(rpm=60, burst_s=1), 0.0)
    provider = ProviderBucket(60, 1)
    for number in range(3):
        limiter.push(Waiter(number, tokens_of(1)), tokens_of(1))
    first = limiter.pop(0.0)
    assert first.number == 0
    assert limiter.pop(1.0).number == 1
    assert provider.admits(1, 1.0)
    limiter.release(first, 1.0, happened=False)  # given up before it was sent
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
    """Some admitted calls are never sent, and count as if they had not been admitted."""
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
    """A pause of two minutes with impatient callers must not fill memory with prompts."""
    limiter = Limiter(Limits(in_flight=1), 0.0)
    limiter.park(120.0)
    limiter.push(Waiter(0, tokens_of(1)), tokens_of(1))
    for number in range(1, 8_000):
        waiter = Waiter(number, tokens_of(1))
        limiter.push(waiter, waiter.cost)
        waiter.done = True
        limiter.next_at(0.0)
    assert limiter.waiting < 2_000


def test_its_repr_shows_its_state():
    limiter = Limiter(Limits(), 0.0)
    limiter.push(Waiter(0, tokens_of(1)), tokens_of(1))
    limiter.push(Waiter(1, tokens_of(1)), tokens_of(1))
    limiter.pop(0.0)
    limiter.push_renewal(Waiter(2, tokens_of(1)), tokens_of(1), 9.0)
    assert repr(limiter) == "<Limiter 1 in flight, 2 waiting>"
