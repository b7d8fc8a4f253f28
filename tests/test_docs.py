"""The documents are right: their programs run, and what they name exists.

A ``python`` block that calls ``trio.run``, or the kit's ``run_virtual``, is a program. It runs on
the virtual clock, and its output must equal a ``text`` block that follows it directly. A program
that opens the built-in provider runs in real time against a fast one. All other blocks, such as
programs that name another endpoint, are compiled, and their imports are checked.

In docs/runtime.md, blocks that are no programs belong to all programs after them in their section,
so that a tutorial can grow, and a block with a fixture of pytest is a module of tests.
"""

import ast
import difflib
import inspect
import logging
import os
import re
import runpy
import subprocess
import sys
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import attrs
import pytest
import structlog
import trio
from trio.testing import MockClock

from callsheet import simulator as provider
from callsheet.actors import VENDORS, Request
from callsheet.actors.request.classification import classify, is_retried
from callsheet.actors.vendors.format import ApiError
from callsheet.simulator.settings import ProviderSettings

ROOT = Path(__file__).parent.parent
LIMIT_S = 10_000  # seconds of virtual time; a program that never ends fails
REAL_LIMIT_S = 60
PROVIDER = re.compile(r"open_(endpoint|builtin_provider)\(")
BLOCK = re.compile(
    r"^## |^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
GROWING = "runtime.md"
GUIDES = ("tutorial.md",)  # with docs/howto/, they are run by test_guides.py


@attrs.frozen
class Block:
    where: str
    source: str
    prints: str  # the expected output; empty for any
    before: str = ""  # the blocks that belong to the program, too

    @property
    def is_program(self) -> bool:
        return bool(re.search(r"^(trio\.run|run_virtual)\(", self.source, re.MULTILINE))

    @property
    def is_test(self) -> bool:
        return "@pytest.fixture" in self.source

    @property
    def has_provider(self) -> bool:
        return self.is_program and bool(PROVIDER.search(self.source))

    @property
    def is_virtual(self) -> bool:
        return self.is_program and "endpoint" not in self.source.lower()

    @property
    def has_threads(self) -> bool:
        """Whether its clock must not jump while another thread works."""
        return "to_thread" in self.source

    def write(self, path: Path) -> str:
        path.write_text(self.before + self.source)
        return str(path)


def pages_of_programs() -> list[Path]:
    return [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GUIDES]


def blocks() -> list[Block]:
    found = []
    for path in [ROOT / "README.md", *pages_of_programs()]:
        text = path.read_text()
        before = ""
        for match in BLOCK.finditer(text):
            if match[1] is None:  # a section begins
                before = ""
                continue
            line = text.count("\n", 0, match.start()) + 2
            block = Block(f"{path.name}:{line}", match[1], match[2] or "", before)
            found.append(block)
            if path.name == GROWING and not block.is_program:
                before += f"{block.source}\n\n"
    return found


PROGRAMS = [block for block in blocks() if block.is_virtual]
WITH_PROVIDER = [block for block in blocks() if block.has_provider]
OTHERS = [block for block in blocks() if not (block.is_virtual or block.has_provider)]
TESTS = [block for block in blocks() if block.is_test]


def test_every_program_about_the_runtime_shows_what_it_prints():
    programs = [block for block in PROGRAMS if block.where.startswith(GROWING)]
    assert len(programs) > 20
    assert [block.where for block in programs if not block.prints] == []


def test_every_rule_of_the_runtime_is_documented_with_a_program():
    text = (ROOT / "docs" / GROWING).read_text()
    rules = re.split(r"^## ", text, flags=re.MULTILINE)[2].split("\n### ")[1:]
    assert len(rules) > 10
    assert [rule.partition("\n")[0] for rule in rules if "\n```text\n" not in rule] == []


def test_requests_are_documented_by_programs():
    assert sum(block.where.startswith("requests.md") for block in WITH_PROVIDER) > 5
    assert sum(block.where.startswith("endpoints.md") for block in WITH_PROVIDER) > 2
    assert sum(block.where.startswith("failures.md") for block in WITH_PROVIDER) > 1
    assert sum(block.where.startswith("README.md") for block in WITH_PROVIDER + PROGRAMS) > 1


def test_the_readme_is_short_enough_for_two_screens():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 110
    assert len(text) <= 4_700


def test_no_command_has_a_comment_behind_it():
    """An interactive zsh, the shell of macOS, passes "#" and the words after it to the command."""
    for path in documents():
        for block in re.findall(r"^```sh\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
            assert not re.search(r"(^|\s)#", block), f"{path}: {block}"


def code(*names):
    return ", ".join(f"`{name}`" for name in names) or "-"


def test_every_vendor_and_what_it_takes_is_documented():
    text = (ROOT / "docs" / "endpoints.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*\|$", text.partition("| name |")[2], re.MULTILINE)
    for vendor in VENDORS.values():
        row = (
            f"| `{vendor.name}` | {vendor.title} | {vendor.base_url or '-'} "
            f"| {code(*vendor.key_variables)} | {code(*vendor.url_variables)} "
            f"| {', '.join(vendor.formats)} | {f'`{vendor.model}`' if vendor.model else '-'} |"
        )
        assert row in text, f"docs/endpoints.md should have this row:\n{row}"
    assert rows[: len(VENDORS)] == list(VENDORS), "the rows should have the order of the catalog"


def test_every_field_of_a_request_and_the_formats_that_express_it_are_documented():
    """Everywhere means: in each format, or decided before one is chosen."""
    text = (ROOT / "docs" / "requests.md").read_text()
    formats = {
        "chat": VENDORS["openai"].formats["chat"],
        "responses": VENDORS["openai"].responses,
        "anthropic": VENDORS["anthropic"].formats["chat"],
        "gemini": VENDORS["gemini"].formats["chat"],
        "completion": VENDORS["openai"].formats["completion"],
        "embedding": VENDORS["openai"].formats["embedding"],
    }
    everywhere = {
        "model",
        "task",
        "api",
        "dialect",
        "extra_body",
        "extra_headers",
        "cacheable",
        "packable",
        "deadline",
        "idempotency_key",
        "max_tokens_name",
    }
    for name in {field.name for field in attrs.fields(Request)} - everywhere:
        marks = ["x" if name in form.supports else "" for form in formats.values()]
        row = re.sub(" +", " ", f"| `{name}` | {' | '.join(marks)} |")
        assert row in text, f"docs/requests.md should have this row:\n{row}"


def test_the_fields_that_are_marked_are_those_that_of_takes():
    """A row names one field, or two alternatives that are marked together."""
    text = (ROOT / "docs" / "requests.md").read_text()
    table = text.split("| field | `of` | what it does |\n")[1].split("\n\n")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines()[1:]]
    fields = {field.name for field in attrs.fields(Request)}
    marked = {name for names, mark in rows if "x" in mark for name in re.findall(r"`(\w+)`", names)}
    assert marked == fields & set(inspect.signature(Request.of).parameters)


def test_every_package_that_documents_and_examples_import_is_in_the_reference_of_the_api():
    """Its page says that what is not listed may change."""
    pages = (ROOT / "docs" / "reference").glob("*.md")
    text = "\n".join(page.read_text() for page in pages)
    listed = set(re.findall(r"^\.\. automodule:: ([\w.]+)$", text, re.MULTILINE))
    for path in [*documents(), *(ROOT / "examples").glob("*.py")]:
        used = set(re.findall(r"^from (callsheet[\w.]*) import", path.read_text(), re.MULTILINE))
        assert used <= listed, path


def test_the_reference_of_the_runtime_has_each_name_once_by_what_it_is_for():
    text = (ROOT / "docs" / "reference" / "runtime.md").read_text()
    names = re.findall(r"{py:obj}`(\w+) <callsheet\.runtime\.(\w+)>`", text)
    assert all(name == target for name, target in names)
    assert sorted(name for name, _ in names) == sorted(import_module("callsheet.runtime").__all__)


def documents():
    others = (
        ROOT / name
        for name in (
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "deploy/README.md",
        )
    )
    guides = sorted((ROOT / "docs" / "howto").glob("*.md"))
    return [*others, *sorted((ROOT / "docs").glob("*.md")), *guides]


def sources():
    for folder in ("actors", "runtime", "src", "tests", "examples", "benchmarks"):
        yield from sorted((ROOT / folder).rglob("*.py"))


@cache
def text_of(path):
    """Return the text of a file, which several tests look at."""
    return path.read_text()


RULES = [*(f"R{number}" for number in range(1, 19)), *(f"L{number}" for number in range(1, 16))]


def rules():
    """The section of each rule in docs/architecture.md, by its number."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    parts = re.split(r"^### ([RL]\d+): ", text, flags=re.MULTILINE)[1:]
    return {
        rule: re.split(r"^##", section, flags=re.MULTILINE)[0]
        for rule, section in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_rule_is_documented_with_what_keeps_it_and_what_shows_it():
    found = rules()
    assert list(found) == RULES
    for rule, section in found.items():
        modules = re.findall(r"^- Kept by ", section, re.MULTILINE)
        is_kept = "- Not kept yet: " not in section
        assert modules or not is_kept, f"{rule} names no module that keeps it"
        assert re.search(r"^- Shown.* by\n  - `test_", section, re.MULTILINE), (
            f"{rule} names no test that shows it"
        )


def test_every_rule_names_tests_that_exist():
    """The name of a test file is unique, so its folder is not part of the name."""
    files = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
    homes = {}  # {name of a test: its files}
    for file, path in files.items():
        for name in re.findall(
            r"^(?:async )?def (test_\w+)\(|^(Test\w+|test_\w+) =", path.read_text(), re.MULTILINE
        ):
            homes.setdefault("".join(name), []).append(file)
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", text)
    assert len(named) > len(RULES)
    wrong = []
    for file, name in named:
        if file in homes.get(name, ()):
            continue
        here = [each for each, where in homes.items() if file in where]
        alike = [name] if name in homes else difflib.get_close_matches(name, here or homes, n=2)
        likely = [f"{where}::{each}" for each in alike for where in homes[each]]
        wrong.append(f"{file}::{name}; perhaps it is now {' or '.join(likely) or 'removed'}")
    assert not wrong, "docs/architecture.md names tests that do not exist:\n" + "\n".join(wrong)


def test_every_path_in_a_document_exists():
    wrong, found = [], 0
    for path in documents():
        named = re.findall(
            r"`((?:actors|runtime|src|tests|docs|deploy|examples|benchmarks)/[\w./-]*)`",
            path.read_text(),
        )
        found += len(named)
        named = [each for each in named if not re.search("NAME|COMMAND", each)]  # of the reader
        wrong += [f"{path.name}: {each}" for each in set(named) if not (ROOT / each).exists()]
    assert found > len(RULES)
    assert not wrong, "documents name paths that do not exist:\n" + "\n".join(sorted(wrong))


def test_every_rule_that_is_cited_is_documented():
    for path in [*sources(), *documents()]:
        cited = set(re.findall(r"\b[RL]\d{1,2}\b", text_of(path)))
        wrong = sorted(cited - set(RULES))
        assert not wrong, f"{path} cites rules that are not in docs/architecture.md: {wrong}"


def test_every_section_about_providers_that_is_cited_exists():
    """A citation has the name of the page and, after a comma, of the section."""
    text = (ROOT / "docs" / "providers.md").read_text()
    headings = re.findall(r"^### (\w+: .+)$", text, re.MULTILINE)
    for path in sources():
        words = " ".join(text_of(path).replace("# ", " ").split())
        for cited in re.findall(r"docs/providers\.md, (\w+: [a-z]+)", words):
            known = any(heading.startswith(cited) for heading in headings)
            assert known, f"{path} cites docs/providers.md, {cited}: there is no such heading"


def test_every_document_that_is_cited_exists():
    for path in sources():
        for cited in re.findall(r"\bdocs/[\w-]+\.md\b", text_of(path)):
            assert (ROOT / cited).exists(), f"{path} cites {cited}, which does not exist"


def test_links_between_documents_lead_somewhere():
    for path in documents():
        for target, anchor in re.findall(
            r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", path.read_text()
        ):
            file = (path.parent / target).resolve() if target else path
            assert file.exists(), f"{path.name} links to {target}, which does not exist"
            if anchor and file.suffix == ".md":
                titles = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
                anchors = {
                    re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
                }
                assert anchor in anchors, (
                    f"{path.name} links to {target}#{anchor}, which is no heading"
                )


def test_what_each_status_means_is_documented():
    text = (ROOT / "docs" / "failures.md").read_text()
    rows = re.findall(r"^\| ([\d, ]+) \| `(\w+)` \| (yes|no) \|$", text, re.MULTILINE)
    assert len(rows) == 5
    for statuses, error, again in rows:
        for status in map(int, statuses.split(", ")):
            kind, _ = classify(status, ApiError())
            assert kind.__name__ == error, status
            assert is_retried(kind, should_retry=None) is (again == "yes"), status


@pytest.mark.parametrize("block", OTHERS, ids=lambda block: block.where)
def test_a_block_that_is_no_program_compiles_and_imports_what_exists(block):
    tree = ast.parse(block.source, block.where)
    cells = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # a notebook allows it
    compile(tree, block.where, "exec", cells, dont_inherit=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("callsheet"):
            module = import_module(str(node.module))
            for name in node.names:
                assert hasattr(module, name.name), f"{block.where}: no {name.name} in {node.module}"


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.where)
def test_a_program_runs_and_prints_the_documented_output(block, tmp_path, monkeypatch, capsys):
    async def limited(main):
        with trio.fail_after(LIMIT_S):
            await main()

    def run_virtually(main, **options):
        clock = None if block.has_threads else MockClock(autojump_threshold=0)
        return run(partial(limited, main), **{"clock": clock} | options)

    run = trio.run
    monkeypatch.setattr(trio, "run", run_virtually)
    structlog.reset_defaults()  # programs about the log start as any other
    monkeypatch.setattr(logging.getLogger("callsheet.runtime"), "handlers", [])
    runpy.run_path(block.write(tmp_path / "program.py"), run_name="__main__")
    if block.prints:
        assert capsys.readouterr().out == block.prints


@pytest.mark.parametrize("block", TESTS, ids=lambda block: block.where)
def test_a_block_of_tests_passes(block, tmp_path):
    block.write(tmp_path / "test_block.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "pytest_trio.plugin",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # others take long to import
        capture_output=True,
        text=True,
        timeout=REAL_LIMIT_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.sockets
@pytest.mark.parametrize("block", WITH_PROVIDER, ids=lambda block: block.where)
def test_a_program_with_a_provider_runs_and_prints_the_documented_output(
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
    runpy.run_path(block.write(tmp_path / "program.py"), run_name="__main__")
    if block.prints:
        assert capsys.readouterr().out == block.prints
