"""Shared budgets: never more than the budget, whatever is repeated, lost, killed or forgotten."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors.ledger.shared import (
    BudgetShare,
    CellNeed,
    CellUse,
    LedgerAsk,
    LedgerReport,
)
from callsheet.actors.ledger.shared.core import LEASE_S, REBUILD_S, SharedBudgets

CELL, LIMIT, DAY_S = "cell", 100, 24 * 3600


class Ledger:
    """A ledger file, or the memory of one process: what is reserved, by key, and what is spent."""

    def __init__(self, name):
        self.name = name
        self.version = 1
        self.reserved = {}
        self.spent = 0

    @property
    def use(self):
        reserved = sum(self.reserved.values())
        return CellUse(CELL, self.spent + reserved, reserved, DAY_S)


class Process:
    """A process with the real `BudgetShare`, and a ledger that it writes as the accounts do."""

    def __init__(self, world, ledger, name):
        self.world, self.ledger = world, ledger
        self.share = BudgetShare(name)
        self.share.contributor = ledger.name
        self.keys = 0
        self.waiting = {}  # {key: amount} of what is reserved here and has no verdict
        self.flying = {}  # {key: amount} of what was granted, so that the provider may bill it
        self.commit()

    def commit(self, wants=(), ended=(), *, changes=True):
        self.ledger.version += changes
        share = self.share
        share.take(
            LedgerReport(
                self.ledger.version,
                self.ledger.version / 8,
                [self.ledger.use],
                wants,
                ended,
                has_all=share.must_report_all,
                verified=share.unverified,
            )
        )

    def reserve(self, amount):
        self.keys += 1
        key = f"{self.share.process}:{self.keys}"
        if self.ledger.use.used + amount > LIMIT:
            return  # the local ledger refuses it
        self.ledger.reserved[key] = self.waiting[key] = amount
        self.commit([((key, 1), (CellNeed(CELL, amount, LIMIT, DAY_S),))])

    def exchange(self, lost="", **more):
        share = self.share
        if share.must_report_all or share.unverified:
            self.commit(changes=False)
        ask = share.question(**more)
        if lost == "ask":
            return
        answer = self.world.ask(ask)
        if lost == "answer":
            return
        share.answered(ask, answer)
        for key, amount in list(self.waiting.items()):
            if not share.is_undecided((key, 1)):
                del self.waiting[key]
                if share.refusal((key, 1)) is None:
                    self.flying[key] = amount
                else:
                    del self.ledger.reserved[key]
                    self.commit(ended=[(key, 0)])

    def end_call(self, part):
        """End the oldest call that was granted; it costs a part of what was reserved."""
        for key, amount in list(self.flying.items())[:1]:
            del self.flying[key], self.ledger.reserved[key]
            cost = amount * part // 4
            self.world.billed += cost
            self.ledger.spent += cost
            self.commit(ended=[(key, 0)])

    def die(self):
        self.world.billed += sum(self.flying.values())


class World:
    def __init__(self):
        self.now, self.billed, self.losses, self.starts = 1000.0, 0, 0, 0
        self.core = SharedBudgets()
        self.no_death_before = 0.0
        self.asks = []
        self.ledgers = [Ledger("file"), Ledger("other")]
        self.processes = []
        for ledger in (*self.ledgers, self.ledgers[0]):
            self.start(ledger)

    def start(self, ledger):
        """Start a process, which ends what dead ones have reserved in its file."""
        alive = {one.share.process for one in self.processes}
        for key in [key for key in ledger.reserved if key.split(":")[0] not in alive]:
            ledger.spent += ledger.reserved.pop(key)
        self.starts += 1
        self.processes.append(Process(self, ledger, f"p{self.starts}"))

    def ask(self, ask):
        self.asks.append(ask)
        return self.core.ask(ask, self.now, f"epoch-{self.losses}")

    def later(self, seconds):
        """Let time pass, in which every process says each second that it lives."""
        for _ in range(int(seconds)):
            self.now += 1
            for process in self.processes:
                process.exchange(watched=(CELL,))

    def lose(self):
        """Lose the state, unless there is no process left that has heard of what others used.

        Such a process does not die before it has reported that.
        """
        self.later(2)
        if any(CELL in process.share.totals for process in self.processes):
            self.core, self.losses = SharedBudgets(), self.losses + 1
            self.no_death_before = self.now + REBUILD_S + 1

    def check(self):
        flying = sum(sum(process.flying.values()) for process in self.processes)
        assert self.billed + flying <= LIMIT


def conversation(seed, *, may_lose, length=40):
    """Return random steps: drawn from a seed, because chosen ones seldom come to the limit."""
    random = Random(seed)
    kinds = {"reserve": 10, "exchange": 11, "end": 4, "die": 1, "start": 1}
    kinds |= {"again": 3, "later": 2, "lose": may_lose}
    amounts = random.choice([3, 20, 60])
    for what in random.choices(list(kinds), list(kinds.values()), k=random.randrange(length)):
        match what:
            case "reserve":
                value = random.randint(0, amounts)
            case "exchange":
                value = random.choice(["ask", "answer", "", "", "", "", "", ""])
            case "end":
                value = random.randint(0, 4)
            case "later":
                value = random.choice([1, 4, 11])
            case _:
                value = random.randrange(2)
        yield what, random.randrange(30), value


SEEDS = st.integers(0, 2**32)


def play(steps):
    world = World()
    world.later(4)
    for what, who, value in steps:
        processes = world.processes
        process = processes[who % len(processes)]
        match what:
            case "reserve":
                process.reserve(value)
            case "exchange":
                process.exchange(value)
            case "end":
                process.end_call(value)
            case "die" if len(processes) > 1 and world.now >= world.no_death_before:
                processes.remove(process)
                process.die()
                if value:
                    world.start(process.ledger)
            case "start":
                world.start(world.ledgers[value])
            case "again" if world.asks:  # a question that arrives late, for a second time
                world.ask(world.asks[-1 - who % len(world.asks)])
            case "later":
                world.later(value)
            case "lose":
                world.lose()
        world.check()
    return world


@given(seed=SEEDS)
def test_all_processes_together_never_spend_more_than_the_budget(seed):
    play(conversation(seed, may_lose=1))


@given(seed=SEEDS)
def test_what_is_used_is_exactly_what_all_ledgers_have(seed):
    world = play(conversation(seed, may_lose=0))
    for ledger in world.ledgers:  # so that every file is reported
        world.start(ledger)
    world.later(12)
    for process in world.processes:
        while process.flying:
            process.end_call(3)
    world.later(3)
    total = world.processes[0].share.totals[CELL]
    assert total.used == sum(ledger.use.used for ledger in world.ledgers)
    assert total.reserved == total.maybe == 0


@pytest.mark.slow
@settings(max_examples=3000)
@given(seed=SEEDS)
def test_all_processes_together_never_spend_more_in_long_conversations(seed):
    play(conversation(seed, may_lose=2, length=100))


def ask(process="p", number=1, **more):
    return LedgerAsk(
        **{"process": process, "number": number, "contributor": process, "version": 1, "stamp": 1.0}
        | more
    )


def test_nothing_is_decided_before_every_process_has_reported():
    core, want = SharedBudgets(), ((CellNeed(CELL, 1, LIMIT, DAY_S),),)
    first = core.ask(ask(wants=want), 0.0, "a")
    assert (first.opens_in_s, first.verdicts) == (REBUILD_S, ())
    assert core.ask(ask(number=2, epoch="a", wants=want), REBUILD_S, "b").verdicts == (-1,)


def test_a_process_that_knows_another_state_reports_everything_first():
    core, want = SharedBudgets(), ((CellNeed(CELL, 1, LIMIT, DAY_S),),)
    core.ask(ask(), 0.0, "new")
    answer = core.ask(ask(number=2, epoch="old", wants=want), 5.0, "")
    assert (answer.epoch, answer.opens_in_s, answer.verdicts) == ("new", 0, ())


def test_what_a_dead_process_had_reserved_is_possibly_billed_until_it_reports_again():
    core, use = SharedBudgets(), CellUse(CELL, 7, 5, DAY_S)
    core.ask(ask("dead", uses=(use,)), 0.0, "a")

    def seen(now, number):
        total = core.ask(ask("sees", number, watched=(CELL,)), now, "").totals[CELL]
        return total.used, total.reserved, total.maybe

    assert seen(LEASE_S - 1, 1) == (7, 5, 0)
    assert seen(LEASE_S, 2) == (7, 0, 5)
    core.ask(ask("dead", 2), LEASE_S + 1, "")
    assert seen(LEASE_S + 1, 3) == (7, 5, 0)
    core.ask(ask("dead", 3, uses=(CellUse(CELL, 3, 0, DAY_S),)), LEASE_S + 2, "")
    assert seen(LEASE_S + 2, 4) == (3, 0, 0)


def test_the_uses_of_a_ledger_that_ended_are_summed_up_once():
    core, use = SharedBudgets(), CellUse(CELL, 7, 0, DAY_S)
    for number in (1, 2, 3):
        answer = core.ask(
            ask(number=number, uses=(use,), leaves=number > 1, is_last=True), 0.0, "a"
        )
        assert answer.totals[CELL].used == 7
    assert answer.totals[CELL].own == 0


def test_a_question_that_arrives_after_a_later_one_changes_nothing():
    core = SharedBudgets()
    core.ask(ask(), 0.0, "a")
    use, want = CellUse(CELL, 30, 0, DAY_S), ((CellNeed(CELL, 70, LIMIT, DAY_S),),)
    late = ask(number=2, epoch="a", uses=(use,), wants=want)
    granted = core.ask(ask(number=3, epoch="a", uses=(use,), wants=want), 4.0, "")
    assert granted.verdicts == (-1,)
    assert core.ask(late, 4.0, "").verdicts == ()
    assert core.ask(ask("sees", watched=(CELL,)), 4.0, "").totals[CELL].used == LIMIT
