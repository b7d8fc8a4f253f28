"""R7, R14, R16: the life of a child as a pure machine, against what it promises."""

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callsheet.runtime.supervision.lifecycle import Life, NextStep, Phase


class LifeMachine(RuleBasedStateMachine):
    """Plays the supervisor: carries out each step, and counts what a stop still may take."""

    @initialize(restart=st.sampled_from(["permanent", "transient", "temporary"]))
    def spawn(self, restart):
        self.life = Life(restart)
        self.now = 0.0
        self.work = 0
        self.told_to_stay = False  # stopped by a user, and not opened since
        self.resumes = False  # a start is due that nothing but the machine has asked for
        self.restarts_in_stop = 0
        self.work_at_stop = 0
        self.life.start(is_restart=False)

    def carry_out(self, step):
        self.resumes = step is NextStep.RESUME
        if step is NextStep.CLOSE:
            self.work = 0
            assert self.life.phase is Phase.STOPPED
        elif step is NextStep.DECIDE:
            assert self.life.phase is Phase.BACKING_OFF
            assert not self.told_to_stay, "a stop leads to no decision, so it never escalates"
        elif step is NextStep.RESUME:
            assert self.work, "it resumes only for messages"
            self.restarts_in_stop += 1

    def note_stop(self):
        if not self.told_to_stay:
            self.told_to_stay = True
            self.restarts_in_stop = 0
            self.work_at_stop = self.work + 1

    @rule(seconds=st.sampled_from([0.5, 1, 20]))
    def wait(self, seconds):
        self.now += seconds

    @precondition(lambda self: not self.told_to_stay)
    @rule(count=st.integers(1, 3))
    def send(self, count):
        if self.life.phase is not Phase.STOPPED:
            self.work += count

    @precondition(lambda self: self.life.is_alive and not self.life.has_started)
    @rule()
    def start(self):
        self.life.started()
        assert self.life.has_started

    @precondition(lambda self: self.life.is_alive and not self.life.has_started)
    @rule()
    def fail_to_start(self):
        self.carry_out(self.life.start_failed())
        if self.told_to_stay:
            assert self.life.phase is Phase.STOPPED, "a failed start ends a stop"

    @precondition(lambda self: self.life.is_alive and self.life.has_started)
    @rule()
    def cancel_the_start_at_its_end(self):
        self.carry_out(self.life.start_failed())
        assert self.life.is_settled

    @precondition(lambda self: self.life.is_alive and self.life.has_started)
    @rule(used=st.integers(0, 2), crashed=st.booleans())
    def end(self, used, crashed):
        self.work = max(0, self.work - used)
        before, phase = self.life.restart, self.life.phase
        self.carry_out(self.life.ended(self.now, self.work, crashed=crashed))
        if phase is Phase.RUNNING:
            restarts = before == "permanent" or (before == "transient" and crashed)
            assert (self.life.phase is Phase.BACKING_OFF) == restarts

    @precondition(lambda self: self.life.phase is Phase.BACKING_OFF)
    @rule(pause=st.sampled_from([0, 2, 50]))
    def back_off(self, pause):
        self.life.back_off(self.now + pause)

    @precondition(lambda self: self.life.phase is Phase.BACKING_OFF)
    @rule()
    def restart(self):
        self.life.start(is_restart=True)

    @precondition(lambda self: self.resumes and self.life.phase is Phase.DRAINING)
    @rule()
    def resume(self):
        self.resumes = False
        self.life.start(is_restart=True)
        assert self.life.phase is Phase.DRAINING

    @rule(stop_s=st.sampled_from([0, 3, inf]))
    def drain(self, stop_s):
        if self.life.phase is not Phase.STOPPED:
            self.note_stop()
        resumes = self.resumes
        step = self.life.drain(self.now, self.now + stop_s, self.work)
        self.carry_out(step)
        self.resumes = self.resumes or (resumes and self.life.phase is Phase.DRAINING)
        if stop_s == 0 and self.life.is_alive:
            assert step in (NextStep.CANCEL, NextStep.NOTHING)
        assert self.life.limit <= self.now + stop_s or self.life.phase is Phase.STOPPED

    @rule(grace=st.sampled_from([0, 5]))
    def halt(self, grace):
        was_draining = self.told_to_stay
        self.carry_out(self.life.halt(self.now + grace))
        assert self.life.stays_stopped or not was_draining, "a halt does not undo a stop"

    @rule()
    def cut(self):
        self.carry_out(self.life.cut())
        assert self.life.is_settled
        if self.told_to_stay:
            assert self.life.phase is Phase.STOPPED

    @precondition(lambda self: self.life.phase is Phase.STOPPED)
    @rule()
    def restart_by_a_caller(self):
        self.told_to_stay = False
        self.life.start(is_restart=False)

    @precondition(lambda self: self.life.phase is Phase.STOPPED)
    @rule()
    def open(self):
        self.told_to_stay = False
        self.life.open()

    @invariant()
    def holds(self):
        life = self.life
        assert not (life.is_settled and life.is_alive)
        if life.phase in (Phase.STARTING, Phase.RUNNING, Phase.STOPPING):
            assert life.is_alive
        if life.phase is Phase.DRAINING and not life.is_alive:
            assert self.resumes, "a drain without an incarnation always goes on by itself"
        if self.told_to_stay:
            assert life.stays_stopped
            assert self.restarts_in_stop <= self.work_at_stop, "it ends"


TestLife = LifeMachine.TestCase
TestLife.settings = settings(
    max_examples=2 * settings.default.max_examples, stateful_step_count=30, deadline=None
)


def running(restart="permanent") -> Life:
    life = Life(restart)
    life.start(is_restart=False)
    life.started()
    return life


@pytest.mark.parametrize(
    ("restart", "crashed", "phase"),
    [
        ("permanent", True, Phase.BACKING_OFF),
        ("permanent", False, Phase.BACKING_OFF),
        ("transient", True, Phase.BACKING_OFF),
        ("transient", False, Phase.STOPPED),
        ("temporary", True, Phase.STOPPED),
        ("temporary", False, Phase.STOPPED),
    ],
)
def test_an_end_leads_to_a_restart_by_the_kind_of_child(restart, crashed, phase):
    life = running(restart)
    life.ended(0, 3, crashed=crashed)
    assert life.phase is phase


def test_a_drain_goes_on_after_a_crash_as_long_as_it_gets_on():
    life = running()
    assert life.drain(0, 10, 2) is NextStep.DRAIN
    assert life.ended(1, 2, crashed=True) is NextStep.RESUME
    life.start(is_restart=True)
    life.started()
    assert life.ended(2, 1, crashed=True) is NextStep.RESUME
    life.start(is_restart=True)
    life.started()
    assert life.ended(3, 1, crashed=True) is NextStep.CLOSE, "the last incarnation did nothing"


@pytest.mark.parametrize(
    ("pause", "work", "fails", "step"),
    [
        (2, 1, False, NextStep.RESUME),
        (2, 0, False, NextStep.CLOSE),
        (20, 1, False, NextStep.CLOSE),
        (2, 1, True, NextStep.CLOSE),
    ],
)
def test_a_drain_of_a_child_that_backs_off_waits_only_for_what_can_succeed(
    pause, work, fails, step
):
    life = running()
    life.ended(0, 1, crashed=True)
    if fails:
        life.start(is_restart=True)
        assert life.start_failed() is NextStep.DECIDE
    life.back_off(pause)
    assert life.drain(0, 10, work) is step


def test_a_stop_during_a_group_restart_wins_over_the_restart():
    life = running()
    assert life.halt(5) is NextStep.HALT
    assert life.drain(1, inf, 1) is NextStep.NOTHING
    assert life.ended(2, 1, crashed=False) is NextStep.RESUME, "it drains what waits"


def test_a_first_start_that_fails_is_the_callers_failure():
    life = Life("permanent")
    life.start(is_restart=False)
    assert life.start_failed() is NextStep.CLOSE


def test_a_drain_after_a_cut_stays_a_stop_when_it_is_halted():
    life = Life("permanent")
    life.start(is_restart=False)
    life.started()
    life.cut()
    assert life.drain(0.0, 3.0, 1) is NextStep.RESUME
    life.start(is_restart=True)
    life.halt(0.0)
    assert life.stays_stopped
