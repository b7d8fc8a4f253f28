"""The Python in README.md and docs/ is code that runs.

A ``python`` block that calls ``trio.run``, or the kit's ``run_virtual``, is a program: it is run,
on the virtual clock, and if a ``text`` block follows at once, that is what it prints. A program
that names an endpoint needs a provider: it, and a block that is no program, are only compiled.
"""

import re
import runpy
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

ROOT = Path(__file__).parent.parent
LIMIT_S = 600  # of virtual time: a program that waits for ever fails
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Block:
    where: str
    source: str
    prints: str  # empty if the document does not say

    @property
    def is_run(self) -> bool:
        is_program = re.search(r"^(trio\.run|run_virtual)\(", self.source, re.MULTILINE)
        return bool(is_program) and "endpoint" not in self.source.lower()


def blocks() -> list[Block]:
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            found.append(Block(f"{path.name}:{line}", match[1], match[2] or ""))
    return found


PROGRAMS = [block for block in blocks() if block.is_run]
OTHERS = [block for block in blocks() if not block.is_run]


def test_the_runtime_is_documented_by_programs():
    assert sum(block.where.startswith("runtime.md") for block in PROGRAMS) > 5


def test_every_rule_names_tests_that_exist():
    text = (ROOT / "docs" / "runtime.md").read_text()
    rows = re.findall(r"^\| (R\d+)? ?\| (.*) \|$", text.partition("| rule |")[2], re.MULTILINE)
    assert [rule for rule, _ in rows if rule] == [f"R{number}" for number in range(1, 15)]
    for _, row in rows:
        named = re.findall(r"`(test_\w+\.py)::(\w+)`", row)
        assert named
        for file, name in named:
            source = (ROOT / "tests" / "runtime" / file).read_text()
            assert re.search(rf"def {name}\(|^{name} =", source, re.MULTILINE), f"{file}::{name}"


@pytest.mark.parametrize("block", OTHERS, ids=lambda block: block.where)
def test_a_block_that_is_no_program_compiles(block):
    compile(block.source, block.where, "exec")


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.where)
def test_a_program_runs_and_prints_what_the_document_says(block, tmp_path, monkeypatch, capsys):
    async def limited(main):
        with trio.fail_after(LIMIT_S):
            await main()

    def run_virtually(main, **options):
        return run(partial(limited, main), **{"clock": MockClock(autojump_threshold=0)} | options)

    run = trio.run
    monkeypatch.setattr(trio, "run", run_virtually)
    program = tmp_path / "program.py"
    program.write_text(block.source)
    runpy.run_path(str(program), run_name="__main__")
    if block.prints:
        assert capsys.readouterr().out == block.prints
