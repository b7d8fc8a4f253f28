"""The circuit breaker, compared with a plain model."""

from math import inf
from random import Random

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callsheet.actors.request.breaker import BreakerPolicy, CircuitBreaker

policies = st.builds(
    BreakerPolicy,
    window_s=st.sampled_from([1.0, 10.0, 100.0]),
    min_calls=st.integers(1, 6),
    failure_rate=st.sampled_from([0.25, 0.5, 1.0]),
    consecutive=st.none() | st.integers(1, 5),
    pause_s=st.sampled_from([0.5, 5.0]),
    max_pause_s=st.sampled_from([0.25, 5.0, 60.0]),
    jitter=st.sampled_from([0.0, 0.5, 1.0]),
)


def in_a_row(results):
    row = 0
    for failed in reversed(list(results)):
        if not failed:
            break
        row += 1
    return row


@attrs.define(eq=False)
class Call:
    """A call in flight, and the model's record of it."""

    ticket: object
    era: int


class Outages(RuleBasedStateMachine):
    """A breaker, calls that end in any order, and a clock.

    The model keeps every result of the present era (since it last opened or closed) and counts
    them anew each time, where the breaker keeps sums.
    """

    @initialize(policy=policies, seed=st.integers())
    def begin(self, policy, seed):
        self.policy = policy
        self.breaker = CircuitBreaker(policy, Random(seed))
        self.now = 0.0
        self.under_way = []
        self.ended = []
        self.era = 0
        self.results = []  # [(when, whether it failed)] of this era
        self.is_open = False
        self.until = 0.0
        self.failed_probes = 0
        self.probe = None
        self.counts = dict.fromkeys(["begun", "refused", "ok", "failed", "abandoned", "late"], 0)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 7.0, 50.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def the_instant_comes_that_it_names(self):
        at = self.breaker.next_at(self.now)
        if at < inf:
            assert at >= self.now
            self.now = at
            assert self.breaker.next_at(at) == at, (
                "every instant that it returns admits a call (L4)"
            )
            self.one_wants_to_go()
            assert self.under_way, "a call at that instant is admitted"

    @rule()
    def one_wants_to_go(self):
        may_go = not self.is_open or (self.probe is None and self.now >= self.until)
        assert (self.breaker.next_at(self.now) == self.now) is may_go
        ticket = self.breaker.try_begin(self.now)
        assert (ticket is not None) is may_go
        if ticket is None:
            self.counts["refused"] += 1
            return
        assert ticket.is_probe is self.is_open
        self.counts["begun"] += 1
        call = Call(ticket, self.era)
        self.under_way.append(call)
        if self.is_open:
            self.probe = call

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def one_ends_well(self, data):
        call = self.pick(data)
        self.breaker.succeed(call.ticket, self.now)
        self.counts["ok"] += 1
        if call is self.probe:
            self.turn(is_open=False)
            self.failed_probes = 0
        elif call.era == self.era:
            self.results.append((self.now, False))
        else:
            self.counts["late"] += 1

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def one_fails(self, data):
        call = self.pick(data)
        opened = self.breaker.statistics(self.now).opened
        self.breaker.fail(call.ticket, self.now)
        self.counts["failed"] += 1
        opens = False
        if call is self.probe:
            opens = True
            self.failed_probes += 1
        elif call.era == self.era:
            self.results.append((self.now, True))
            opens = self.is_too_much()
        else:
            self.counts["late"] += 1
        assert self.breaker.statistics(self.now).opened == opened + opens
        if opens:
            self.turn(is_open=True)
            whole = min(
                self.policy.max_pause_s, self.policy.pause_s * 2 ** min(self.failed_probes, 60)
            )
            self.until = self.breaker.next_at(self.now)
            pause = self.until - self.now
            assert whole * (1 - self.policy.jitter) - 1e-9 <= pause <= whole + 1e-9

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def the_head_of_one_arrives(self, data):
        """A probe becomes a call like any other, of the era that it begins."""
        call = data.draw(st.sampled_from(self.under_way))
        self.breaker.confirm(call.ticket)
        if call is self.probe:
            self.turn(is_open=False)
            self.failed_probes = 0
            call.era = self.era

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def one_is_cancelled(self, data):
        call = self.pick(data)
        self.breaker.abandon(call.ticket)
        self.counts["abandoned"] += 1
        if call is self.probe:
            self.probe = None

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), how=st.sampled_from(["succeed", "fail", "abandon"]))
    def one_is_said_to_end_once_more(self, data, how):
        """End a call twice; the invariants check that the second end has no effect."""
        ticket = data.draw(st.sampled_from(self.ended)).ticket
        if how == "abandon":
            self.breaker.abandon(ticket)
        else:
            getattr(self.breaker, how)(ticket, self.now)

    def pick(self, data):
        call = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(call)
        self.ended.append(call)
        return call

    def turn(self, *, is_open):
        self.era += 1
        self.results = []
        self.is_open = is_open
        self.probe = None

    def seen(self):
        return [failed for at, failed in self.results if at > self.now - self.policy.window_s]

    def in_a_row(self):
        return in_a_row(self.seen())

    def is_too_much(self):
        seen = self.seen()
        under_way = sum(call.era == self.era for call in self.under_way)
        if max(sum(seen), in_a_row(failed for _, failed in self.results)) < min(under_way, 200):
            return False
        if self.policy.consecutive is not None and self.in_a_row() >= self.policy.consecutive:
            return True
        enough = len(seen) >= self.policy.min_calls
        return enough and sum(seen) / len(seen) >= self.policy.failure_rate

    @invariant()
    def it_shows_what_the_model_has(self):
        if not hasattr(self, "breaker"):
            return
        shown = self.breaker.statistics(self.now)
        counts = self.counts
        assert (shown.begun, shown.refused) == (counts["begun"], counts["refused"])
        assert (shown.succeeded, shown.failed) == (counts["ok"], counts["failed"])
        assert (shown.abandoned, shown.late) == (counts["abandoned"], counts["late"])
        assert shown.under_way == len(self.under_way)
        assert shown.begun == shown.succeeded + shown.failed + shown.abandoned + shown.under_way
        assert (shown.results, shown.failures) == (len(self.seen()), sum(self.seen()))
        assert shown.in_a_row == self.in_a_row()
        assert shown.failed_probes == self.failed_probes
        assert shown.is_probing is (self.probe is not None)

    @invariant()
    def it_is_what_it_says(self):
        if not hasattr(self, "breaker"):
            return
        shown = self.breaker.statistics(self.now)
        assert shown.state == self.breaker.state(self.now)
        if not self.is_open:
            assert (shown.state, shown.next_at) == ("closed", self.now)
        elif self.probe is not None:
            assert (shown.state, shown.next_at) == ("half_open", inf)
        elif self.now >= self.until:
            assert (shown.state, shown.next_at) == ("half_open", self.now)
        else:
            assert (shown.state, shown.next_at) == ("open", self.until)


Outages.TestCase.settings = settings(
    max_examples=settings.default.max_examples, stateful_step_count=25, deadline=None
)
TestOutages = Outages.TestCase
