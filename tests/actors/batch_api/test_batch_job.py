"""The state machine of a batch: every line ends once, and every batch ends."""

from math import inf

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import BadRequest, QuotaExhausted
from callsheet.actors.batch_api.job import BatchJob
from callsheet.actors.batch_api.orphans import OrphanHandling, handle_orphans
from callsheet.actors.vendors.batch_dialect import BatchView, LineError

IDS = ("b-0", "b-1", "b-2")
OUTPUTS = ("/files/out/content", "/files/err/content")


def job(**more):
    return BatchJob("b", IDS, window_s=1000.0, settle_s=10.0, late_s=100.0, **more)


def running(now=0.0):
    one = job()
    one.prepared("file")
    one.creating(now)
    one.created(view("validating"), now)
    return one


def view(status, *, outputs=(), **more):
    return BatchView(id="p1", status=status, outputs=outputs, **more)


OVER = view("completed", is_over=True, is_complete=True, outputs=OUTPUTS, done=1)


def test_a_batch_goes_from_intent_to_results():
    one = job()
    assert one.next(0) == "prepare"
    one.prepared("file")
    assert one.next(0) == "create"
    one.creating(0)
    one.created(view("validating"), 0)
    one.wait(5)
    assert one.next(0) == 5
    assert one.next(5) == "poll"
    one.update(OVER, 5)
    assert one.next(5) == "fetch"
    assert [one.take_result(custom_id) for custom_id in ("b-0", "b-0", "x-0")] == [
        "ours",
        "twice",
        "foreign",
    ]
    one.fetched_all(OUTPUTS[0], 5)
    assert one.next(5) == "fetch"
    one.fetched_all(OUTPUTS[1], 5)
    assert (one.next(5), one.ending, one.release()) == (inf, "results", ("b-1", "b-2"))


def test_a_create_without_an_answer_is_looked_for_before_it_is_sent_again():
    one = job()
    one.prepared("file")
    one.creating(0)
    assert one.next(1) == "find"
    one.not_found(1)
    assert one.next(9) == "find"
    one.not_found(10)
    assert one.next(10) == "create"
    one.creating(11)
    one.created(view("in_progress"), 12)
    assert one.next(12) == "poll"


def test_what_a_journal_tells_of_is_not_made_again():
    one = BatchJob.found(
        "b",
        IDS,
        size=3,
        mark="file",
        batch_id="",
        is_certain=True,
        window_s=1000,
        settle_s=10,
        late_s=100,
        now=0,
    )
    assert one.next(0) == "find"
    one.not_found(10)
    assert (one.next(10), one.ending) == (inf, "none")


def test_one_without_a_mark_was_never_made():
    one = BatchJob.found(
        "b",
        IDS,
        size=3,
        mark="",
        batch_id="",
        is_certain=True,
        window_s=1000,
        settle_s=10,
        late_s=100,
        now=0,
    )
    assert (one.next(0), one.ending) == (inf, "none")


def test_a_batch_without_callers_is_cancelled_once():
    one = running()
    one.wait(100)
    one.abandon(50)
    assert (one.next(10), one.next(50)) == (50, "cancel")
    one.is_cancelled = True
    assert one.next(50) == 100
    one.update(view("cancelled", is_over=True, done=0), 100)
    assert (one.next(100), one.ending) == (inf, "unrun")


def test_a_batch_that_gets_a_caller_again_continues():
    one = running()
    one.wait(100)
    one.abandon(50)
    one.keep()
    assert one.next(60) == 100


def test_a_batch_that_is_not_certainly_ours_is_not_cancelled():
    one = running()
    one.is_certain = False
    one.abandon(0)
    assert one.next(1) == "poll"
    one.update(OVER, 1)
    one.is_foreign()
    assert (one.next(1), one.rejected) == ("find", {"p1"})


def test_a_batch_that_the_provider_does_not_know_is_lost_unless_it_is_new():
    one = running()
    one.vanished(9)
    assert one.next(9) == "poll"
    one.vanished(18)
    assert one.next(18) == "poll"
    one.vanished(19)
    assert (one.next(19), one.ending) == (inf, "lost")


def test_a_batch_that_the_provider_does_not_know_once_is_not_lost():
    one = running()
    one.vanished(50)
    one.update(view("in_progress"), 55)
    one.vanished(70)
    assert one.next(70) == "poll"


def test_a_batch_that_never_ends_is_lost_in_the_end():
    one = running()
    assert one.next(1099) == "poll"
    assert (one.next(1100), one.ending) == (inf, "lost")


def test_a_batch_that_ends_late_has_time_to_deliver():
    one = running()
    one.update(OVER, 1090)
    assert one.next(1189) == "fetch"
    assert (one.next(1190), one.ending) == (inf, "lost")


@pytest.mark.parametrize(
    ("reported", "ending"),
    [
        ({"is_complete": True}, "results"),  # completed, and its file is not named yet
        ({"is_complete": True, "done": 0}, "results"),
        ({"is_complete": True, "done": 3}, "results"),
        ({"done": 2}, "results"),  # expired, after it has run some of its lines
        ({}, "results"),  # it does not say how many
    ],
)
def test_results_that_are_not_named_yet_are_waited_for(reported, ending):
    one, over = running(), view("over", is_over=True, **reported)
    one.update(over, 10)
    assert one.next(10) == "poll"
    one.update(attrs.evolve(over, outputs=OUTPUTS), 50)
    assert one.next(50) == "fetch"
    other = running()
    other.update(over, 10)
    other.update(over, 109)
    assert other.next(109) == "poll"
    other.update(over, 110)
    assert (other.next(110), other.ending) == (inf, ending)


def test_a_batch_that_has_run_nothing_has_nothing_to_deliver():
    one = running()
    one.update(view("expired", is_over=True, done=0), 10)
    assert (one.next(10), one.ending) == (inf, "unrun")


def test_a_file_that_is_not_there_is_asked_for_again_and_so_is_one_that_may_have_been_short():
    one = running()
    one.update(OVER, 10)
    one.is_absent(OUTPUTS[0], 10)
    one.fetched_all(OUTPUTS[1], 10)
    assert one.next(10) == "poll"
    one.update(OVER, 20)
    assert (one.next(20), one.output) == ("fetch", OUTPUTS[0])
    one.is_absent(OUTPUTS[0], 20)
    assert (one.next(20), one.output) == ("fetch", OUTPUTS[1])
    one.fetched_all(OUTPUTS[1], 110)
    assert (one.next(110), one.ending) == (inf, "results")


@pytest.mark.parametrize(
    "reported", [{"done": 3}, {"done": 0, "is_complete": True}, {"is_complete": True}, {}]
)
def test_a_file_that_was_empty_is_read_again_until_its_results_are_late(reported):
    one, over = running(), view("over", is_over=True, outputs=OUTPUTS[:1], **reported)
    one.update(over, 10)
    for now in (10, 50, 109):
        one.fetched_all(OUTPUTS[0], now, is_whole=False)
        assert one.next(now) == "poll"
        one.update(over, now)
        assert (one.next(now), one.output) == ("fetch", OUTPUTS[0])
    one.fetched_all(OUTPUTS[0], 110, is_whole=False)
    assert (one.next(110), one.ending, one.release()) == (inf, "results", IDS)


def test_results_that_the_provider_counts_and_does_not_deliver_are_waited_for():
    one, over = running(), attrs.evolve(OVER, outputs=OUTPUTS[:1], done=2)
    one.update(over, 10)
    one.take_result("b-0")
    one.fetched_all(OUTPUTS[0], 10)
    assert one.next(10) == "poll"
    one.update(attrs.evolve(over, outputs=OUTPUTS), 20)
    assert (one.next(20), one.output) == ("fetch", OUTPUTS[0])  # it may have been short
    one.fetched_all(OUTPUTS[0], 20)
    assert (one.next(20), one.output) == ("fetch", OUTPUTS[1])
    one.take_result("b-1")
    one.fetched_all(OUTPUTS[1], 20)
    assert (one.next(20), one.ending, one.release()) == (inf, "results", ("b-2",))


@pytest.mark.parametrize("custom_id", ["b-7", "bb-1", "b", ""])
def test_a_name_is_ours_or_not(custom_id):
    assert job().is_own(custom_id) is (custom_id == "b-7")


def test_results_that_are_lost_may_have_been_paid_for():
    one = running()
    one.update(view("expired", is_over=True, outputs=OUTPUTS, done=0), 10)
    one.fetched_all(OUTPUTS[0], 110, is_whole=False)
    one.fetched_all(OUTPUTS[1], 110)
    assert one.ending == "results"


STATUSES = st.sampled_from(
    ["validating", "in_progress", "finalizing", "cancelling", "", "VALIDATING?", "on holiday"]
)
VIEWS = st.one_of(
    STATUSES.map(view),
    st.builds(
        lambda status, outputs, refused, complete, name, done: BatchView(
            id=name,
            status=status,
            is_over=True,
            is_refused=refused,
            is_complete=complete,
            outputs=outputs,
            done=done,
        ),
        STATUSES,
        st.sampled_from([(), OUTPUTS[:1], OUTPUTS]),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["p1", "p1", "p2"]),
        st.sampled_from([None, 0, 1, 3, 4]),
    ),
)
EVENTS = st.one_of(
    VIEWS,
    st.sampled_from([*IDS, "b-9", "foreign-0"]),
    st.sampled_from(["vanished", "lost", "refused", "empty", "abandon", "keep", "foreign!"]),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 400)), max_size=40))
def test_whatever_happens_each_line_ends_once(events):  # noqa: PLR0912  # one branch a step
    one, now, ends = job(), 0.0, []
    for event, passed in events:
        now += passed
        step = one.next(now)
        if step == "prepare":
            one.prepared("file")
        elif step == "create":
            one.creating(now)
            if event == "refused":
                one.unmade()
                one.finish("refused")
            elif isinstance(event, BatchView):
                one.created(event, now, is_certain=event.id == "p1")
        elif step == "find":
            one.not_found(now)
            if isinstance(event, BatchView):
                one.created(event, now, is_certain=event.id == "p1")
        elif step == "poll" and isinstance(event, BatchView):
            one.update(event, now)
        elif step == "poll" and event == "vanished":
            one.vanished(now)
        elif step == "cancel":
            assert one.batch_id
            assert not one.is_cancelled
            one.is_cancelled = True
        elif step == "fetch":
            assert one.view is not None
            if event in (*IDS, "b-9", "foreign-0"):
                if one.take_result(event) == "ours":
                    ends.append(event)
            elif event == "foreign!" and not one.is_certain:
                one.is_foreign()
            elif event == "empty":
                one.is_absent(one.output, now)
            else:
                one.fetched_all(one.output, now, is_whole=event != "lost")
        if event == "abandon":
            one.abandon(now)
        elif event == "keep":
            one.keep()
    for _ in range(50):  # the job also ends if the provider reports nothing more
        now += 400.0
        if one.next(now) == "find":
            one.not_found(now)
        if one.next(now) == "prepare":
            one.finish("none")
        if one.next(now) == "create":
            one.creating(now)
            one.unmade()
            one.finish("refused")
    assert one.next(now) == inf
    assert one.ending is not None
    ends += one.release()
    assert sorted(ends) == sorted(IDS)
    assert one.release() == ()


# ---------------------------------------------------------------- what is left of it


def over(ending, view=None):
    one = running()
    one.view = view
    one.finish(ending)
    return one


def left(ending, error=None, *errors):
    said = view("failed", errors=errors) if errors else None
    return handle_orphans(over(ending, said), IDS, error)


ALL = frozenset(IDS)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("none", OrphanHandling(again=ALL)),
        ("unrun", OrphanHandling(live=ALL)),
        ("results", OrphanHandling(live=ALL, maybe_billed=True)),
        ("lost", OrphanHandling(live=ALL, maybe_billed=True)),
        ("refused", OrphanHandling(live=ALL)),
    ],
)
def test_what_has_no_result_is_asked_for_in_the_way_that_fits(ending, expected):
    assert left(ending) == expected


def test_an_error_of_the_account_fails_all_requests():
    assert left("refused", QuotaExhausted("no")) == OrphanHandling(fails=ALL)
    assert left("refused", BadRequest("no")) == OrphanHandling(live=ALL)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LineError("token_limit_exceeded", "Too much."), None),
        (LineError("", "Enqueued token limit reached. Limit: 90,000 enqueued tokens."), 90_000),
    ],
)
def test_an_overflow_waits(error, told):
    expected = OrphanHandling(again=ALL, is_overflow=True, stated_limit=told)
    assert left("refused", None, error) == expected
    assert left("refused", BadRequest(f"{error.code} {error.message}")) == expected


def test_those_that_are_named_are_not_sent_again():
    some = (LineError("bad", "no", 1), LineError("bad", "no", 77), LineError("bad", "no"))
    assert left("refused", None, *some) == OrphanHandling(live={"b-1"}, again=ALL - {"b-1"})
    assert left("refused", None, *some[1:]) == OrphanHandling(live=ALL)
