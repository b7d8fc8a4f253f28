"""Who leads and who follows: every call goes at last, and a beginning has one leader (R14)."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callsheet.actors.prompt_cache.leads import Beginning, CacheWish
from callsheet.actors.prompt_cache.warmth import WarmBeginnings

LIFE_S = 300.0


def wish(*names, written=None, lane="", life_s=LIFE_S, least=1):
    """A call with the beginnings "a", "ab" and so on, each 1,000 tokens longer."""
    beginnings = [Beginning(name.encode(), 1000 * len(name)) for name in names]
    chosen = beginnings if written is None else [it for it in beginnings if it.key in written]
    return CacheWish(
        readable=tuple(beginnings), written=tuple(chosen), life_s=life_s, lane=lane, least=least
    )


def calls_of(sent):
    return [one.call for one in sent]


def arriving(warm, *calls, at=0.0, deadline=inf, **more):
    """Return those of the calls that go at once."""
    found = (warm.arrive(call, wish("a", **more), at, deadline=deadline) for call in calls)
    return [one for one in found if one is not None]


def test_the_first_call_leads_and_the_others_follow_its_first_token():
    warm = WarmBeginnings()
    [first] = arriving(warm, 1, 2, 3)
    assert (first.call, first.is_warm, len(warm)) == (1, False, 2)
    sent = warm.began(first.lead, 1.0)
    assert [(one.call, one.is_warm, one.lead) for one in sent] == [(2, True, None), (3, True, None)]
    assert warm.began(first.lead, 2.0) == []
    [late] = arriving(warm, 4, at=1.0 + LIFE_S - 1)
    assert late.is_warm


def test_each_read_prolongs_the_life_of_a_beginning():
    warm = WarmBeginnings()
    [first] = arriving(warm, 1)
    warm.began(first.lead, 0.0)
    assert [arriving(warm, n, at=n * 200.0)[0].is_warm for n in range(1, 5)] == [True] * 4
    [cold] = arriving(warm, 9, at=800.0 + LIFE_S)
    assert cold.lead is not None


def test_the_first_follower_leads_if_the_leader_is_cancelled():
    warm = WarmBeginnings()
    [first] = arriving(warm, 1, 2, 3)
    [second] = warm.lost(first.lead, 1.0, has_failed=False)
    assert (second.call, len(warm)) == (2, 1)
    assert calls_of(warm.began(second.lead, 2.0)) == [3]
    assert warm.lost(second.lead, 3.0) == []


def test_all_followers_go_after_two_leaders_that_failed():
    """They need not fail one after another (L1)."""
    warm = WarmBeginnings()
    [first] = arriving(warm, 1, 2, 3, 4)
    [second] = warm.lost(first.lead, 1.0)
    sent = warm.lost(second.lead, 2.0)
    assert calls_of(sent) == [3, 4]
    assert [one.lead is None for one in sent] == [False, True], "one of them leads"


def test_a_lane_follows_the_leader_of_another_one_that_is_sent():
    warm = WarmBeginnings()
    [first] = arriving(warm, 1, 2, lane="a")
    warm.sent(first.lead, 0.0)
    assert arriving(warm, 3, 4, lane="b", at=0.5) == []
    assert warm.due_at == 15.0, "for the first token, as in a lane"
    assert calls_of(warm.began(first.lead, 2.0)) == [2, 3, 4]


def test_a_lane_waits_a_second_for_another_one_that_waits_for_the_limiter_and_leads_then():
    """It does not wait behind the calls of other tenants."""
    warm = WarmBeginnings()
    [slow] = arriving(warm, 1, 2, lane="slow")
    assert arriving(warm, 3, 4, lane="fast") == []
    assert warm.due_at == 1.0
    [fast] = warm.expire(1.0)
    assert (fast.call, fast.lead is not None) == (3, True), "the other one follows it"
    assert warm.due_at == inf
    warm.sent(fast.lead, 1.0)
    assert calls_of(warm.began(fast.lead, 2.0)) == [4, 2], "those of the slow lane, too"
    assert arriving(warm, 5, lane="slow", at=3.0)[0].is_warm
    assert warm.lost(slow.lead, 4.0) == []


def test_the_wait_for_a_leader_of_another_lane_begins_anew_when_it_is_sent():
    warm = WarmBeginnings()
    [first] = arriving(warm, 1, lane="a")
    assert arriving(warm, 2, lane="b") == []
    assert warm.sent(first.lead, 0.5) == []
    assert warm.due_at == 15.5


def test_the_longest_beginning_counts_and_a_gain_that_is_too_small_is_not_waited_for():
    warm = WarmBeginnings()
    root = warm.arrive(1, wish("a"), 0.0)
    warm.began(root.lead, 0.0)
    doc = warm.arrive(2, wish("a", "ab"), 1.0)
    assert doc.is_warm
    assert [one.key for one in doc.lead.written] == [b"ab"]
    assert warm.arrive(3, wish("a", "ab", least=1001), 1.0) is not None
    assert warm.arrive(4, wish("a", "ab", least=1000), 1.0) is None
    assert warm.warmth(wish("a", "ab"), 1.0) == ("warming", Beginning(b"ab", 2000))
    assert warm.warmth(wish("a", "ac"), 1.0) == ("warm", Beginning(b"a", 1000))
    assert warm.warmth(wish("b"), 1.0) == ("cold", None)


def test_a_call_with_no_time_to_wait_goes_and_one_that_waits_goes_in_time():
    """L1: a wait takes 15 seconds at most, and a quarter of the time that is left."""
    warm = WarmBeginnings()
    [first] = arriving(warm, 1)
    [hurried] = arriving(warm, 2, at=5.0, deadline=8.9)
    assert hurried.lead is None, "a beginning has one leader"
    assert arriving(warm, 3, 4) == arriving(warm, 5, deadline=40.0) == []
    assert warm.due_at == inf, "they would wait for the limiter behind the leader"
    assert warm.sent(first.lead, 8.0) == []
    assert warm.due_at == 16.0
    assert warm.expire(15.9) == []
    [instead] = warm.expire(16.0)
    assert (instead.call, instead.lead is not None) == (5, True)
    warm.leave(3)
    assert warm.due_at == 23.0
    assert warm.expire(23.0) == [], "it follows the new leader, which waits for the limiter"
    assert (warm.due_at, len(warm)) == (inf, 1)


def test_a_follower_whose_time_has_passed_at_the_limiter_goes_with_the_leader():
    warm = WarmBeginnings()
    [first] = arriving(warm, 1, 2, deadline=20.0)
    assert calls_of(warm.sent(first.lead, 17.0)) == [2]
    assert warm.sent(first.lead, 17.0) == []


def test_one_call_leads_instead_of_a_late_leader_and_all_go_after_three_waits():
    warm, sent = WarmBeginnings(), []
    [first] = arriving(warm, *range(1, 201))
    warm.sent(first.lead, 0.0)
    for at in (15.0, 30.0):
        assert warm.due_at == at
        [instead] = warm.expire(at)
        warm.sent(instead.lead, at)
        sent.append(instead.call)
    assert sent == [2, 3]
    assert calls_of(warm.expire(45.0)) == list(range(4, 201))


def test_a_late_leader_that_begins_lets_the_followers_of_the_next_one_go():
    warm = WarmBeginnings()
    [first] = arriving(warm, 1, 2, 3, 4)
    warm.sent(first.lead, 0.0)
    [second] = warm.expire(15.0)
    warm.sent(second.lead, 15.0)
    assert calls_of(warm.began(first.lead, 16.0)) == [3, 4]
    assert warm.began(second.lead, 30.0) == []


def test_followers_wait_for_a_leader_that_is_held_back_as_if_it_had_not_been_sent():
    warm = WarmBeginnings()
    [first] = arriving(warm, 1, 2, 3)
    warm.sent(first.lead, 0.0)
    warm.held_back(first.lead, 1.0)
    assert warm.due_at == inf
    assert warm.sent(first.lead, 21.0) == []
    assert warm.due_at == 36.0
    assert calls_of(warm.began(first.lead, 22.0)) == [2, 3]


def test_the_waits_for_one_leader_after_another_are_bounded_together():
    """L1: they take 45 seconds and half of the time until the deadline at most."""
    warm, at = WarmBeginnings(), 0.0
    [lead] = [one.lead for one in arriving(warm, 1, 2, 3, 4, 5, 6, 7, deadline=40.0)]
    for wait_s in (10.0, 7.5, 2.5):
        warm.sent(lead, at)
        at += wait_s
        assert warm.due_at == at
        sent = warm.expire(at)
        lead = sent[0].lead
    assert (at, calls_of(sent)) == (20.0, [4, 5, 6, 7])


def test_a_drain_lets_all_go_in_order():
    warm = WarmBeginnings()
    arriving(warm, 1, 2, 3)
    assert calls_of(warm.release(1.0)) == [2, 3]
    assert warm.release(1.0) == []


@given(st.lists(st.integers(0, 30), max_size=60))
def test_memory_is_bounded(names):
    warm = WarmBeginnings(max_known=5)
    for number, name in enumerate(names):
        one = Beginning(bytes([name]), 1000)
        sent = warm.arrive(number, CacheWish(readable=(one,), written=(one,), life_s=9.0), 0.0)
        assert sent is None or sent.call == number
        assert len(warm._known) <= 5


class Calls(RuleBasedStateMachine):
    """Calls arrive, lead, fail, leave and wait, in any order."""

    def __init__(self):
        super().__init__()
        self.warm = WarmBeginnings()
        self.now = 0.0
        self.count = 0
        self.until = {}  # of calls that wait
        self.waited = {}  # seconds for leaders that were sent
        self.leads = []  # of calls that were sent and lead

    def sent(self, found):
        for one in found:
            self.until.pop(one.call)
            if one.lead is not None:
                self.leads.append(one.lead)

    @rule(
        name=st.sampled_from(["a", "ab", "ac", "abd", "b"]),
        lane=st.sampled_from(["", "x"]),
        left_s=st.sampled_from([0.0, 3.0, 10.0, 30.0, inf]),
        least=st.sampled_from([1, 1500]),
    )
    def arrive(self, name, lane, left_s, least):
        self.count += 1
        names = [name[: size + 1] for size in range(len(name))]
        one = wish(*names, lane=lane, least=least)
        self.until[self.count], self.waited[self.count] = inf, 0.0
        sent = self.warm.arrive(self.count, one, self.now, deadline=self.now + left_s)
        if sent is not None:
            self.sent([sent])
        else:
            assert left_s > 3.0

    @precondition(lambda self: self.leads)
    @rule(data=st.data())
    def send(self, data):
        lead = data.draw(st.sampled_from(self.leads))
        self.sent(self.warm.sent(lead, self.now))

    @precondition(lambda self: self.leads)
    @rule(data=st.data())
    def hold_back(self, data):
        self.warm.held_back(data.draw(st.sampled_from(self.leads)), self.now)

    @precondition(lambda self: self.leads)
    @rule(data=st.data(), end=st.sampled_from(["began", "failed", "cancelled"]))
    def end(self, data, end):
        lead = data.draw(st.sampled_from(self.leads))
        self.leads.remove(lead)
        if end == "began":
            self.sent(self.warm.began(lead, self.now))
        else:
            self.sent(self.warm.lost(lead, self.now, has_failed=end == "failed"))

    @precondition(lambda self: self.until)
    @rule(data=st.data())
    def leave(self, data):
        call = data.draw(st.sampled_from(sorted(self.until)))
        self.until.pop(call)
        self.warm.leave(call)

    @rule(seconds=st.sampled_from([0.5, 1.0, 400.0]))
    def later(self, seconds):
        until = self.now + seconds
        while self.warm.due_at <= until:
            self.pass_until(max(self.now, self.warm.due_at))
            self.sent(self.warm.expire(self.now))
        self.pass_until(until)

    def pass_until(self, until):
        for lead in self.leads:
            for call in lead.followers if lead.is_sent else ():
                self.waited[call] += until - self.now
                assert self.waited[call] < 45.01, "no call waits longer than it may"
        self.now = until

    @rule()
    def drain(self):
        self.sent(self.warm.release(self.now))
        assert not self.until

    @invariant()
    def a_beginning_has_one_leader_in_a_lane(self):
        written = [
            (one.key, lead.wish.lane)
            for lead in self.leads
            if not lead.is_over
            for one in lead.written
            if lead not in self.warm._known[one.key].late
        ]
        assert len(written) == len(set(written))

    @invariant()
    def whoever_waits_follows_a_leader_that_may_still_begin(self):
        assert len(self.warm) == len(self.until)
        following = [call for lead in self.leads for call in lead.followers]
        assert sorted(following) == sorted(self.until)

    def teardown(self):
        while self.leads:
            self.sent(self.warm.lost(self.leads.pop(0), self.now))
        assert not self.until, "every call goes at last"


TestCalls = Calls.TestCase
