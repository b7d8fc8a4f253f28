"""A result leaves the journal when all its callers have acknowledged it, and not before (L7)."""

from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import CallContext
from callsheet.actors.batch_api.results import Claims

CALLS = st.sampled_from("abcdef")
GIVEN = st.lists(st.sets(CALLS, min_size=1), max_size=8)


def context(calls):
    if len(calls) == 1:
        return CallContext(*calls)
    return CallContext("together", shared_by=tuple(CallContext(call) for call in sorted(calls)))


@given(GIVEN, st.lists(st.sets(CALLS), max_size=8))
def test_a_line_is_done_with_once_all_of_its_calls_have_kept_it(lines, rounds):
    claims = Claims(is_acknowledged=True)
    for number, calls in enumerate(lines):
        assert not claims.deliver(f"line-{number}", context(calls))
    kept, done = set(), []
    for calls in rounds:
        kept |= calls
        done += claims.acknowledge(sorted(calls))
        expected = {f"line-{number}" for number, calls in enumerate(lines) if calls <= kept}
        assert sorted(done) == sorted(expected), "each of them once"
    assert len(claims) == len(lines) - len(done)


def test_without_being_held_a_line_is_done_with_when_it_is_given():
    claims = Claims(is_acknowledged=False)
    assert claims.deliver("line", context({"a"}))
    assert claims.acknowledge(["a"]) == []
    assert len(claims) == 0
