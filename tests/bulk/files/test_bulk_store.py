"""The run store: it outlives the process, and belongs to one process at a time."""

import contextlib
import sqlite3
from decimal import Decimal

import attrs
import pytest

from callsheet.actors import (
    DamagedFile,
    Endpoint,
    ForeignFile,
    JournalOwner,
    StorageFull,
    TroupeSettings,
    Usage,
    claim_journal,
    lines_in,
)
from callsheet.actors.batch_api.journal_file import JournalFile
from callsheet.actors.batch_api.plan import BatchGroup
from callsheet.bulk.engine.routing import RunJournal, plan_run
from callsheet.bulk.errors import BulkRefused
from callsheet.bulk.files.known import open_known
from callsheet.bulk.files.store import RunStore
from callsheet.bulk.settings import BulkSettings
from callsheet.bulk.spending import RunSpend
from callsheet.bulk.unpriced import UnpricedTokens


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.jsonl.callsheet"


def test_answers_are_found_by_their_keys(path):
    store = RunStore(path)
    store.keep([(b"a", b"one\n"), (b"b", b"two\n")], RunSpend())
    assert store.find([b"b", b"c", b"a"]) == [b"two\n", None, b"one\n"]
    assert store.responses == 2
    store.close()


def test_what_was_sent_and_has_not_ended_is_lost_with_the_process(path):
    store = RunStore(path)
    known = RunSpend(cost_usd=Decimal("0.25"), lost=2, unknown_usd=Decimal("0.5"))
    store.keep([], attrs.evolve(known, sent=10, ended=7, each_usd=Decimal("0.02")))
    store.close()
    again = RunStore(path)
    assert again.spend == attrs.evolve(known, lost=5, maybe_usd=Decimal("0.06"))
    assert again.spend.at_most_usd == Decimal("0.81")
    assert again.opened == 2
    again.close()
    third = RunStore(path)
    assert third.spend.lost == 5
    third.close()


def test_tokens_without_a_price_are_stored_and_priced_when_a_price_is_known(path):
    """What is not known counts at its bound in every later run, too (L13)."""
    store = RunStore(path)
    one, other = ("m", "default"), ("m", "flex")
    known = UnpricedTokens({one: Usage(100, 20)})
    each = UnpricedTokens({one: Usage(10, 5), other: Usage(1, 50)})
    store.keep([], RunSpend(sent=5, ended=3, unpriced=known, each_unpriced=each))
    store.close()
    again = RunStore(path)
    spend = again.spend
    again.close()
    assert spend.unpriced.by_model == {one: Usage(120, 30), other: Usage(2, 100)}
    assert spend.unpriced.models == ["m"]
    assert (spend.each_unpriced, spend.at_most_usd) == (UnpricedTokens(), 0)

    def price(model, tier, usage):
        return Decimal(usage.total_tokens) if tier == "default" else None

    priced = spend.priced(price)
    assert (priced.unknown_usd, priced.at_most_usd) == (150, 150)
    assert priced.unpriced.by_model == {other: Usage(2, 100)}
    assert priced.priced(lambda *_: None) == priced


def test_no_two_openings_have_the_same_name(path):
    names = set()
    for place in (path, path, path.with_name("other.callsheet")):
        store = RunStore(place)
        names.add(store.name)
        store.close()
    assert len(names) == 3


def test_two_runs_refuse_each_other(path):
    store = RunStore(path)
    with pytest.raises(BulkRefused, match="another run is writing"):
        RunStore(path)
    with pytest.raises(BulkRefused, match="another run is writing"), open_known(path):
        pass
    store.close()
    RunStore(path).close()


@pytest.mark.parametrize("fsync", ["full", "normal", "off"])
@pytest.mark.synced
def test_how_far_an_answer_is_kept_can_be_set(path, fsync):
    store = RunStore(path, fsync)
    (mode,) = store._db.execute("PRAGMA synchronous").fetchone()
    assert mode == {"off": 0, "normal": 1, "full": 2}[fsync]
    store.close()


@contextlib.contextmanager
def left_alone(path):
    """Check that the block changes nothing on the disk."""

    def files():
        return {one.name: one.read_bytes() for one in path.parent.iterdir()}

    before = files()
    yield
    assert files() == before


def test_another_database_is_left_alone(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with left_alone(path), pytest.raises(BulkRefused, match="but not a run store of Callsheet"):
        RunStore(path)


def test_what_is_no_database_is_left_alone(path):
    path.write_bytes(b"They are only words, but many of them. " * 100)
    with (
        left_alone(path),
        pytest.raises(BulkRefused, match="cannot be used: the file is not a database"),
    ):
        RunStore(path)
    assert path.read_bytes().startswith(b"They are")


def test_a_later_version_is_left_alone(path):
    RunStore(path).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 9")
    other.close()
    with (
        left_alone(path),
        pytest.raises(BulkRefused, match="version 9, and this release reads version 6"),
    ):
        RunStore(path)


def test_a_store_with_other_tables_is_left_alone(path):
    RunStore(path).close()
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE responses RENAME COLUMN line TO lime")
    other.close()
    refusal = r"its tables are not those of a run store\); move it and OUTPUT away, or give another"
    with left_alone(path), pytest.raises(BulkRefused, match=refusal):
        RunStore(path)


def test_a_cost_that_is_no_number_is_damage(path):
    store = RunStore(path)
    store._db.execute("UPDATE spend SET cost_usd = '0.1x'")
    with pytest.raises(DamagedFile, match="a stored value is not valid"):
        _ = store.spend
    store.close()
    with (
        pytest.raises(BulkRefused, match=r"is not valid.; move it and OUTPUT away"),
        open_known(path) as known,
    ):
        _ = known.spend


def test_ids_are_met_once_in_a_run(path):
    store = RunStore(path)
    long = "x" * 1000
    assert store.meet([("a", 1), ("b", 2), ("a", 3), (long, 4)]) == [None, None, 1, None]
    assert store.meet([(long, 5), ("\udce9", 6)]) == [4, None]
    store.close()
    again = RunStore(path)
    assert again.meet([("a", 1)]) == [None]
    again.close()


def test_a_full_disk_is_distinguished_from_other_errors_and_changes_nothing(path):
    store = RunStore(path)
    store.keep([(b"a", b"one\n")], RunSpend())
    pages = store._db.number("PRAGMA page_count")
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull, match="full; make room on the disk"):
        store.keep([(b"b", b"x" * 100_000)], RunSpend(sent=9))
    assert store.find([b"a", b"b"]) == [b"one\n", None]
    assert store.spend.sent == 0
    store.close()


def test_a_look_changes_nothing(path):
    with open_known(path) as known:
        assert known.find(b"a") is None
    assert not path.exists()
    store = RunStore(path)
    store.keep([(b"a", b"one\n")], RunSpend(sent=3))
    store.close()
    with open_known(path) as known:
        assert known.find(b"a") == 1
        assert known.find(b"b") is None
    store = RunStore(path)
    assert (store.opened, store.spend.lost) == (2, 3)
    store.close()


def test_a_journal_that_cannot_be_read_stops_a_run_before_anything_is_sent(tmp_path):
    """Rows of the journal may be in batches, and would be paid for twice."""
    journal, settings = tmp_path / "journal", BulkSettings(route="live")
    troupe = TroupeSettings(endpoint=Endpoint("http://provider/v1"))
    journal.write_bytes(b"not a database" * 100)
    place = RunJournal(journal, JournalOwner("run", is_new=True))
    with pytest.raises(BulkRefused, match=r"the batch journal .* cannot be used: .*move the file"):
        plan_run(troupe, settings, RunSpend(), place, "lane")
    journal.unlink()
    JournalFile(journal, "me", 1.0, lambda: 0.0).close()
    assert plan_run(troupe, settings, RunSpend(), place, "lane").troupe.batches is None


@pytest.mark.parametrize("route", ["live", "auto", "pack", "batch"])
@pytest.mark.parametrize("has_lines", [True, False])
def test_the_journal_of_another_run_stops_a_run_before_anything_is_sent(tmp_path, route, has_lines):
    """Files that were swapped: the rows of the own journal would be paid for twice (L14)."""
    journal, settings = tmp_path / "journal", BulkSettings(route=route, deadline_s=86_400.0)
    troupe = TroupeSettings(endpoint=Endpoint("http://provider/v1", None, "openai"))
    assert claim_journal(journal, JournalOwner("another")) == 0
    if has_lines:
        file = JournalFile(journal, "me", 1.0, lambda: 0.0)
        file.intend("b", BatchGroup("/v1/chat/completions", "m"), 9, [("x-1", "key")])
        file.close()
    before = journal.read_bytes()
    place = RunJournal(journal, JournalOwner("run"))
    with pytest.raises(BulkRefused, match="it is the journal of another run; restore the journal"):
        plan_run(troupe, settings, RunSpend(), place, "lane")
    assert journal.read_bytes() == before


def test_a_run_takes_over_a_journal_without_lines_when_it_begins(tmp_path):
    journal, owner = tmp_path / "journal", JournalOwner("run", is_new=True)
    assert claim_journal(journal, JournalOwner("another")) == 0
    assert claim_journal(journal, owner) == 0
    assert lines_in(journal, JournalOwner("run")) == 0
    with pytest.raises(ForeignFile):
        lines_in(journal, JournalOwner("another"))


@pytest.mark.parametrize("route", ["live", "auto", "pack", "batch"])
def test_a_missing_journal_stops_a_run_whose_rows_may_be_in_batches(tmp_path, route):
    """They would be paid for twice (L14)."""
    journal = tmp_path / "journal"
    troupe = TroupeSettings(endpoint=Endpoint("http://provider/v1", None, "openai"))
    place = RunJournal(journal, JournalOwner("run", has_lines=True))
    settings = BulkSettings(route=route, deadline_s=86_400.0)
    with pytest.raises(BulkRefused, match=r"the file is missing.*restore it.*--pay-again"):
        plan_run(troupe, settings, RunSpend(), place, "lane")
    assert not journal.exists()
    plan_run(troupe, attrs.evolve(settings, pay_again=True), RunSpend(), place, "lane")


def test_a_store_knows_whether_rows_are_in_batches(tmp_path):
    path = tmp_path / "store"
    for in_batches in (True, False):
        store = RunStore(path)
        store.note_batches(in_batches=in_batches)
        assert store.owner.has_lines is in_batches
        store.close()
        with open_known(path) as known:
            assert known.owner == JournalOwner(known.owner.name, has_lines=in_batches)
