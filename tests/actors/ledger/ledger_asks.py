"""Random questions to stores of shared budgets: ledgers that spend, die, and share a file."""

from hypothesis import strategies as st

from callsheet.actors.ledger.shared import PICO, CellNeed, CellUse, LedgerAsk

CELLS = ("day", "team", "all")
LEDGERS = (0, 1, 2, 0)  # of each process: two of them share a file
DAY_S = 24 * 3600

_money = st.one_of(
    st.integers(0, 5),
    st.integers(0, 20 * PICO),
    st.integers(0, 10**12 * PICO),  # beyond what a double holds
)
_step = st.fixed_dictionaries(
    {
        "process": st.integers(0, 3),
        "later_s": st.sampled_from([0.0, 0.01, 1.0, 2.0, 3.0, 9.5, 10.0, 11.0, -3600.0, 7200.0]),
        "version": st.integers(-2, 3),  # after that of the ledger's last question
        "uses": st.lists(
            st.tuples(st.sampled_from(CELLS), _money, _money, st.one_of(st.just(0), _money)),
            max_size=3,
            unique_by=lambda use: use[0],
        ),
        "wants": st.lists(
            st.lists(
                st.tuples(st.sampled_from(CELLS), _money, _money),
                min_size=1,
                max_size=2,
                unique_by=lambda need: need[0],
            ),
            max_size=3,
        ),
        "watched": st.lists(st.sampled_from((*CELLS, "other")), max_size=2, unique=True),
        "knows": st.booleans(),  # the epoch of the last answer, rather than that of an earlier one
        "is_late": st.booleans(),  # an earlier number once more
        "leaves": st.sampled_from([False, False, False, True]),
        "is_last": st.booleans(),
        "is_lost": st.sampled_from([False] * 9 + [True]),  # before the question
    }
)
steps = st.lists(_step, min_size=1, max_size=15)


def questions(steps):
    """Yield the questions of some steps, each with the time, and whether the store is lost before.

    Send the epoch of each answer.
    """
    now, numbers, versions, epochs = 1_795_694_400.0, {}, {}, ["", ""]
    for step in steps:
        now += step["later_s"]
        process, ledger = f"process-{step['process']}", f"ledger-{LEDGERS[step['process']]}"
        number = numbers.get(process, 0)
        if not step["is_late"] or not number:
            number = numbers[process] = number + 1
        version = max(0, versions.get(ledger, 5) + step["version"])
        versions[ledger] = max(version, versions.get(ledger, 5))
        ask = LedgerAsk(
            process=process,
            number=number,
            contributor=ledger,
            version=version,
            stamp=now / 3,
            epoch=epochs[-1] if step["knows"] else epochs[0],
            uses=tuple(
                CellUse(cell, used - reserved // 2, reserved, DAY_S, others)
                for cell, used, reserved, others in step["uses"]
            ),
            wants=tuple(
                tuple(CellNeed(cell, amount, most, DAY_S) for cell, amount, most in want)
                for want in step["wants"]
            ),
            watched=tuple(step["watched"]),
            leaves=step["leaves"],
            is_last=step["is_last"],
        )
        epochs.append((yield (ask, now, step["is_lost"])))
