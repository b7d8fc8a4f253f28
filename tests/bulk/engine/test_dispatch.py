"""No row is lost or kept twice, whatever happens to its calls and to the disk (L7); pure (R14)."""

import json
from decimal import Decimal
from random import Random

import pytest
from bulk_rows import MODEL, row
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    CallContext,
    CallEvent,
    CallFailed,
    CostBound,
    RateLimited,
    Response,
    Usage,
)
from callsheet.actors.vendors.prices import default_prices
from callsheet.bulk.engine.dispatch import Dispatch
from callsheet.bulk.errors import DRAINED, ArchiveFailed
from callsheet.bulk.row import Placed
from callsheet.bulk.spending import RunSpend

OF_CALLS = ["sent", "retrying", *["answer"] * 4, "fail", "limited", "cancel"]
OF_KEEPS = ["keep", "keep", "keep", "disk is full", "store crashes"]
STEPS = [
    *OF_CALLS,
    *OF_KEEPS,
    *["begin"] * 4,
    *["take"] * 4,
    *["pause", "resume", "end", "end at once"],
]
ROWS = 8
CRASHES = 0.2  # of the store, for each message at the end
RESPONSE = Response(
    text="Hello",
    model=MODEL,
    finish_reason="stop",
    usage=Usage(5, 2),
    cost_usd=Decimal("0.01"),
    http_requests=1,
    seconds=1.0,
)


class Script:
    """Drives a `Dispatch` as its actor does, and records what the store has kept.

    Args:
        ahead: the number of rows that may be dispatched at a time.
        random: chooses the call, or the message to the store, that a step is about.
    """

    def __init__(self, ahead, random):
        self.random = random
        self.state = Dispatch(
            RunSpend(),
            ahead=ahead,
            in_flight=ahead,
            is_recovered=False,
            max_cost=None,
            deadline_s=None,
            bound=CostBound(default_prices()),
            wall_clock=lambda: 0.0,
            clock=lambda: 0.0,
        )
        self.state.add([Placed(place, row(place + 1)) for place in range(ROWS)], is_last=True)
        self.keeping, self.kept, self.on_disk = [], [], RunSpend()

    def step(self, name):
        """Do a step; those of a call, or of a message to the store, need one."""
        do = getattr(self, name.replace(" ", "_"))
        if name in OF_CALLS:
            if calls := list(self.state.calls.values()):
                do(self.random.choice(calls))
        elif name in OF_KEEPS:
            if self.keeping:
                do(self.keeping.pop(0))
        else:
            do()

    def begin(self):
        if (call := self.state.next()) is not None:
            call.cancel_by(lambda: self.cancel(call))
        return call

    def _event(self, call, stage, **more):
        context = CallContext(call.row.custom_id)
        self.state.observe(CallEvent(stage=stage, at=0.0, context=context, model=MODEL, **more))

    def sent(self, call):
        self._event(call, "sent")

    def retrying(self, call):
        self._event(call, "retrying", delay=1.0, error="busy")

    def answer(self, call):
        self.state.answered(call, RESPONSE)

    def fail(self, call):
        self.state.failed(call, CallFailed("No."))

    def limited(self, call):
        self.state.failed(call, RateLimited("Wait."))

    def cancel(self, call):
        if call.row.custom_id in self.state.calls:
            self.state.cancelled(call)

    def take(self):
        if (keep := self.state.take_keep()) is not None:
            self.keeping.append(keep)

    def keep(self, keep):
        self.on_disk = keep.spend
        self.kept += [one.place for one in keep.ended]
        self.state.kept(keep, None)

    def disk_is_full(self, keep):
        self.state.not_kept(keep, ArchiveFailed("full").ending)

    def store_crashes(self, keep):
        """The messages that the store holds fail; those in its mailbox are kept later."""
        self.state.not_kept(keep, DRAINED, is_crash=True)

    def pause(self):
        self.state.pause()

    def resume(self):
        self.state.resume()

    def end(self):
        self.state.end(DRAINED)

    def end_at_once(self):
        self.state.end_at_once(DRAINED)

    def check(self):
        state = self.state
        at_risk = self.on_disk.sent - self.on_disk.ended
        assert at_risk >= len(state.calls), "a bound on disk covers all rows in flight"
        assert len(set(self.kept)) == len(self.kept)

    def finish(self):
        """Let the calls in flight end, and write until the run is over."""
        state = self.state
        state.resume()
        for _ in range(20 * ROWS):
            while self.begin() is not None:
                pass
            for call in list(state.calls.values()):
                self.answer(call)
            self.take()
            state.is_counted = state.has_stopped
            self.take()
            while self.keeping:
                self.step("keep" if self.random.random() > CRASHES else "store crashes")


@given(
    st.integers(1, 4),
    st.lists(st.sampled_from(STEPS), min_size=20, max_size=80),
    st.randoms(use_true_random=True),
)
def test_every_row_is_kept_once_or_goes_back(ahead, steps, random):
    script = Script(ahead, random)
    for name in ("take", "keep", "begin", "begin", *steps):
        script.step(name)
        script.check()
    script.finish()
    state = script.state
    assert state.is_over
    assert not state.calls
    assert state.queue.dispatched == 0
    assert len(set(script.kept)) == len(script.kept)
    assert len(script.kept) + state.queue.waiting == ROWS
    assert state.is_done == (len(script.kept) == ROWS)
    assert state.ending is not None or state.is_done
    assert script.on_disk.sent == script.on_disk.ended, "no row is in flight"


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_line_has_what_all_calls_for_its_row_took(is_answered):
    """L3: a pack without an answer to the row was paid for, and the call afterwards failed."""
    script = Script(1, Random(1))
    busy = RateLimited("Wait.", attempts=2).after(Usage(7, 3), Decimal("0.5"))
    busy.is_transient = True
    ended = []
    while not script.state.is_done:
        script.take()
        for keep in script.keeping:
            ended += keep.ended
            script.keep(keep)
        script.keeping.clear()
        call = script.begin()
        if call is None:
            continue
        if call.row.number == 1 and busy is not None:
            script.state.failed(call, busy)
            assert script.state.spending.cost_usd == Decimal("0.5")
            busy = None
        elif call.row.number == 1 and not is_answered:
            script.state.failed(call, CallFailed("No.", attempts=1))
        else:
            script.answer(call)
    (last,) = [one for one in ended if one.event.number == 1]
    costs = [one.event.cost_usd for one in ended]
    assert last.event.attempts == 3
    assert last.event.cost_usd == Decimal("0.5") + (RESPONSE.cost_usd if is_answered else 0)
    assert json.loads(last.line)["callsheet"]["cost_usd"] == float(last.event.cost_usd)
    assert script.state.spending.cost_usd == sum(costs)
