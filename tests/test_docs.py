"""The Python in README.md and docs/ is code that runs.

A ``python`` block that calls ``trio.run``, or the kit's ``run_virtual``, is a program: it is run,
on the virtual clock, and if a ``text`` block follows at once, that is what it prints. A program
that opens the built-in provider is run as well, against one that is fast, in real time. One that
names another endpoint, and a block that is no program, are only compiled.
"""

import re
import runpy
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from callsheet import simulator as provider
from callsheet.actors import VENDORS, Request
from callsheet.actors.request.classification import classify, is_retried
from callsheet.actors.vendors.format import ApiError
from callsheet.simulator.settings import ProviderSettings

ROOT = Path(__file__).parent.parent
LIMIT_S = 600  # of virtual time: a program that waits for ever fails
REAL_LIMIT_S = 60
PROVIDER = re.compile(r"open_(endpoint|builtin_provider)\(")
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Block:
    where: str
    source: str
    prints: str  # empty if the document does not say

    @property
    def is_program(self) -> bool:
        return bool(re.search(r"^(trio\.run|run_virtual)\(", self.source, re.MULTILINE))

    @property
    def has_provider(self) -> bool:
        return self.is_program and bool(PROVIDER.search(self.source))

    @property
    def is_virtual(self) -> bool:
        return self.is_program and "endpoint" not in self.source.lower()


def blocks() -> list[Block]:
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            found.append(Block(f"{path.name}:{line}", match[1], match[2] or ""))
    return found


PROGRAMS = [block for block in blocks() if block.is_virtual]
WITH_PROVIDER = [block for block in blocks() if block.has_provider]
OTHERS = [block for block in blocks() if not (block.is_virtual or block.has_provider)]


def test_the_runtime_is_documented_by_programs():
    assert sum(block.where.startswith("runtime.md") for block in PROGRAMS) > 5


def test_requests_are_documented_by_programs():
    assert sum(block.where.startswith("requests.md") for block in WITH_PROVIDER) > 3
    assert sum(block.where.startswith("README.md") for block in WITH_PROVIDER) > 2


def code(*names):
    return ", ".join(f"`{name}`" for name in names) or "-"


def test_every_vendor_and_what_it_takes_is_documented():
    text = (ROOT / "docs" / "requests.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*\|$", text.partition("| name |")[2], re.MULTILINE)
    assert rows[: len(VENDORS)] == list(VENDORS)
    for vendor in VENDORS.values():
        row = (
            f"| `{vendor.name}` | {vendor.title} | {vendor.base_url or '-'} "
            f"| {code(*vendor.key_variables)} | {code(*vendor.url_variables)} "
            f"| {', '.join(vendor.formats)} | {f'`{vendor.model}`' if vendor.model else '-'} |"
        )
        assert row in text, f"docs/requests.md should have this row:\n{row}"


def test_every_field_of_a_request_and_who_can_express_it_is_documented():
    """Everywhere means: in each format, or decided before one is chosen."""
    text = (ROOT / "docs" / "requests.md").read_text()
    formats = {
        "chat": VENDORS["openai"].formats["chat"],
        "anthropic": VENDORS["anthropic"].formats["chat"],
        "gemini": VENDORS["gemini"].formats["chat"],
        "completion": VENDORS["openai"].formats["completion"],
        "embedding": VENDORS["openai"].formats["embedding"],
    }
    everywhere = {
        "model",
        "task",
        "extra_body",
        "cacheable",
        "packable",
        "deadline",
        "idempotency_key",
    }
    for name in {field.name for field in attrs.fields(Request)} - everywhere:
        marks = ["x" if name in form.supports else "" for form in formats.values()]
        row = re.sub(" +", " ", f"| `{name}` | {' | '.join(marks)} |")
        assert row in text, f"docs/requests.md should have this row:\n{row}"


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


def test_what_each_status_means_is_documented():
    text = (ROOT / "docs" / "requests.md").read_text()
    rows = re.findall(r"^\| ([\d, ]+) \| `(\w+)` \| (yes|no) \|$", text, re.MULTILINE)
    assert len(rows) == 5
    for statuses, error, again in rows:
        for status in map(int, statuses.split(", ")):
            kind, _ = classify(status, ApiError())
            assert kind.__name__ == error, status
            assert is_retried(kind, should_retry=None) is (again == "yes"), status


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


@pytest.mark.sockets
@pytest.mark.parametrize("block", WITH_PROVIDER, ids=lambda block: block.where)
def test_a_program_with_a_provider_runs_and_prints_what_the_document_says(
    block, tmp_path, monkeypatch, capsys
):
    async def limited(main):
        with trio.fail_after(REAL_LIMIT_S):
            await main()

    run = trio.run
    monkeypatch.setattr(trio, "run", lambda main: run(partial(limited, main)))
    fast = partial(ProviderSettings, time_scale=0.02)
    monkeypatch.setattr(provider, "ProviderSettings", fast)
    for vendor in VENDORS.values():  # no test depends on the environment it runs in
        for name in (*vendor.key_variables, *vendor.url_variables):
            monkeypatch.delenv(name, raising=False)
    program = tmp_path / "program.py"
    program.write_text(block.source)
    runpy.run_path(str(program), run_name="__main__")
    if block.prints:
        assert capsys.readouterr().out == block.prints
