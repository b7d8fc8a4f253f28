"""`--route pack` says which rows are not in packs, and why (files.md, 7)."""

import json

import pytest
from bulk_processes import run_here

pytestmark = pytest.mark.sockets

SYSTEM = " ".join(["Label the review in one word: good, bad, or neither."] * 12)


@pytest.fixture
def run(quick_provider, source, output):
    def run(rows, *options, status=0):
        source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        given = ("--base-url", quick_provider, "--model", "gpt-4o-mini", "--route", "pack")
        return " ".join(run_here(source, output, *given, *options, status=status).split())

    return run


PROMPTS = [{"prompt": f"Review {n}."} for n in range(1, 31)]
NO_SYSTEM = "Not in packs: 30 rows (no system message to share with others). --system gives all"


def test_rows_without_an_instruction_are_sent_alone_and_the_run_says_so(run):
    """A call for each row was made in silence."""
    assert NO_SYSTEM in run(PROMPTS, "--dry-run")
    told = run(PROMPTS)
    assert "Rows are sent alone, and not in packs: no system message to share" in told
    assert NO_SYSTEM in told


def test_each_reason_is_counted(run):
    rows = [*PROMPTS[:20], *({"prompt": "x " * 1500}, {"prompt": "Hi", "stop": ["."]})]
    told = run(rows, "--system", SYSTEM, "--max-tokens", "20")
    assert (
        "Not in packs: 1 row (a last message of more than 2,000 bytes), 1 row (a stop sequence, "
        "which would end the whole pack)." in told
    )
    assert "--system gives" not in told


def test_an_instruction_of_its_own_for_each_row_makes_no_pack(run):
    told = run(PROMPTS, "--system", SYSTEM + "{{ prompt }}")
    assert "No pack was made: no two rows have the same system message" in told


def test_rows_that_are_packed_need_no_words(run):
    told = run(PROMPTS * 4, "--system", SYSTEM)
    assert "Not in packs" not in told
    assert "No pack was made" not in told


def test_another_route_says_nothing_of_packs(run):
    assert "pack" not in run(PROMPTS, "--route", "live")
