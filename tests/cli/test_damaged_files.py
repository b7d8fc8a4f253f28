"""A file of ours that cannot be used: one line, status 2, and nothing is sent, on every route."""

import sqlite3

import pytest
from click.testing import CliRunner

from callsheet.actors.batch_api.journal_file import JournalFile
from callsheet.actors.ledger.file import LedgerFile
from callsheet.bulk.files.store import RunStore
from callsheet.bulk.settings import Paths
from callsheet.cli import main

BODY = '{"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}'
ROW = f'{{"custom_id": "a", "body": {BODY}, "url": "/v1/chat/completions"}}\n'
NOWHERE = ("--base-url", "http://127.0.0.1:1/v1", "--provider", "openai")
ROUTES = ("live", "pack", "auto", "batch")


def make_ledger(path):
    LedgerFile(path, 1.0).close(2.0)


def make_journal(path):
    JournalFile(path, "me", 10.0, lambda: 0.0).close()


def make_store(path):
    RunStore(path).close()


def rewrite(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


def of_the_future(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 77")
    database.close()


def of_another_program(path):
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (x)")
    database.close()


def of_another_kind(path):
    """Put another file of ours in its place."""
    path.unlink()
    (make_store if path.name.startswith("ledger") else make_ledger)(path)


def with_a_changed_value(path):
    """Change a value of any of the files into another valid one."""
    with sqlite3.connect(path) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
        if "labels" in tables:
            columns = len(database.execute("PRAGMA table_info(labels)").fetchall())
            database.execute(f"INSERT INTO labels VALUES (1 {', 5' * (columns - 1)})")
        else:
            table = "serial" if "serial" in tables else "spend"
            database.execute(f"UPDATE {table} SET opened = opened + 1")
    database.close()


DAMAGE = {
    "empty": rewrite(lambda _: b""),
    "cut": rewrite(lambda whole: whole[: len(whole) // 2]),
    "no database": rewrite(lambda whole: b"notes\n" * len(whole)),
    "foreign": of_another_program,
    "swapped": of_another_kind,
    "newer": of_the_future,
    "changed": with_a_changed_value,
}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in.jsonl").write_text(ROW)
    return tmp_path


def check_refused(name, *arguments):
    """Check the one line of a command that does not start."""
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    errors = [text for text in result.stderr.splitlines() if text.startswith("Error: ")]
    assert errors == result.stderr.splitlines()[-1:]
    assert name in errors[0]
    assert "; " in errors[0], "it says what to do"


def check_unchanged(path, before):
    assert path.read_bytes() == before
    assert not [file for file in path.parent.iterdir() if file.name.endswith(("-wal", "-shm"))]


def damaged(ways, first):
    """Return each way with each damage: all of them for one way, and two for the usual others."""
    return [
        pytest.param(
            way,
            DAMAGE[name],
            id=f"{way}-{name}",
            marks=[]
            if way == first or (way not in SIBLINGS and name in SOME)
            else pytest.mark.slow,
        )
        for way in ways
        for name in DAMAGE
    ]


SOME = ("empty", "changed")  # the first one that is looked for, and the last one
SIBLINGS = ("pack", "auto")  # the files are looked at before the route matters


@pytest.mark.parametrize(("command", "damage"), damaged(["compose", "costs", *ROUTES], "live"))
def test_a_ledger_that_cannot_be_used_stops_every_command(place, damage, command):
    ledger, output = place / "ledger.sqlite3", place / "out.jsonl"
    make_ledger(ledger)
    damage(ledger)
    before = ledger.read_bytes()
    arguments = {
        "compose": ("compose", "Tea", "--model", "m", *NOWHERE),
        "costs": ("costs",),
    }.get(command, ("run", place / "in.jsonl", output, "--route", command, *NOWHERE))
    check_refused(f"the ledger {ledger}", *arguments, "--ledger", ledger)
    check_unchanged(ledger, before)


@pytest.mark.parametrize("make", [make_journal, make_store], ids=["journal", "store"])
@pytest.mark.parametrize(("route", "damage"), damaged([*ROUTES, "dry run"], "batch"))
def test_a_file_of_a_run_that_cannot_be_used_stops_it(place, damage, make, route):
    output = place / "out.jsonl"
    path = Paths(output).batches if make is make_journal else Paths(output).store
    make(path)
    damage(path)
    before = path.read_bytes()
    option = ("--dry-run",) if route == "dry run" else ("--route", route)
    noun = "batch journal" if make is make_journal else "run store"
    command = ("run", place / "in.jsonl", output, *option, *NOWHERE)
    check_refused(f"the {noun} {path}", *command, "--ledger", place / "ledger")
    check_unchanged(path, before)


@pytest.mark.parametrize("route", ROUTES)
def test_a_log_without_its_journal_stops_the_run(place, route):
    output = place / "out.jsonl"
    log = output.with_name("out.jsonl.batches-wal")
    log.write_bytes(b"x" * 5000)
    command = ("run", place / "in.jsonl", output, "--route", route, *NOWHERE)
    check_refused("the file does not exist, but its log", *command, "--ledger", place / "ledger")
    assert log.read_bytes() == b"x" * 5000


def of_the_past(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 1")
    database.close()


OTHER_VERSIONS = pytest.mark.parametrize("age", [of_the_past, of_the_future])


@OTHER_VERSIONS
@pytest.mark.parametrize("output", ["out.jsonl", "out.csv", "out.xlsx"])
def test_a_run_that_a_ledger_stops_leaves_nothing_behind(place, monkeypatch, age, output):
    ledger = place / "ledger.sqlite3"
    make_ledger(ledger)
    age(ledger)
    monkeypatch.setenv("CALLSHEET_LEDGER", str(ledger))
    before = sorted(place.iterdir())
    check_refused(f"the ledger {ledger}", "run", place / "in.jsonl", place / output, *NOWHERE)
    assert sorted(place.iterdir()) == before


def test_what_was_there_before_a_run_that_does_not_start_stays(place):
    (place / "ledger").write_text("notes")
    (place / "empty.jsonl").touch()
    (place / "link.jsonl").symlink_to(place / "target.jsonl")
    for output in ("empty.jsonl", "link.jsonl"):
        command = ("run", place / "in.jsonl", place / output, *NOWHERE)
        check_refused("the ledger", *command, "--ledger", place / "ledger")
    assert (place / "empty.jsonl").exists()
    assert (place / "link.jsonl").is_symlink()
    assert not (place / "target.jsonl").exists()
    assert not list(place.glob("*.callsheet*"))


@OTHER_VERSIONS
@pytest.mark.parametrize("command", ["run", "compose", "costs"])
def test_a_ledger_of_another_version_names_what_to_type(place, age, command):
    ledger = place / "ledger.sqlite3"
    make_ledger(ledger)
    age(ledger)
    arguments = {
        "run": ("run", place / "in.jsonl", place / "out.jsonl", *NOWHERE),
        "compose": ("compose", "Tea", "--model", "m", *NOWHERE),
        "costs": ("costs",),
    }[command]
    words = "give another path (--ledger FILE, or CALLSHEET_LEDGER=FILE in the environment)"
    check_refused(words, *arguments, "--ledger", ledger)


@OTHER_VERSIONS
@pytest.mark.parametrize("make", [make_journal, make_store], ids=["journal", "store"])
@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--route", "batch")])
def test_a_file_beside_output_of_another_version_names_output(place, age, make, options):
    output = place / "out.jsonl"
    path = Paths(output).batches if make is make_journal else Paths(output).store
    make(path)
    age(path)
    command = ("run", place / "in.jsonl", output, *options, *NOWHERE)
    check_refused("or give another OUTPUT", *command, "--ledger", place / "ledger")
    check_refused("use the release of Callsheet that wrote it", *command)
    assert not output.exists()
