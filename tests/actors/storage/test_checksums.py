"""Checksums of rows: what they tell apart, and what detects a changed value."""

import sqlite3
from contextlib import closing
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.storage import DamagedFile, DatabaseFormat, open_database
from callsheet.actors.storage.checksums import checksum, verified

WORDS = DatabaseFormat(
    noun="word list",
    application_id=0x574F5244,
    version=1,
    schema=(
        """CREATE TABLE words (
            id INTEGER PRIMARY KEY, word TEXT UNIQUE, at REAL, size INTEGER, raw BLOB,
            crc INTEGER NOT NULL
        )""",
    ),
    checked={"words": "id, word, at, size, raw"},
)
INSERT = "INSERT INTO words VALUES (?1, ?2, ?3, ?4, ?5, checksum(?1, ?2, ?3, ?4, ?5))"
VERIFIED = "SELECT word, verified(crc, id, word, at, size, raw) FROM words WHERE id = ?"

values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    st.binary(max_size=20),
)


@given(st.tuples(values, values, values))
def test_a_row_has_its_checksum_after_any_way_through_the_database(row):
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE t (a, b, c)")
        database.execute("INSERT INTO t VALUES (?, ?, ?)", row)
        assert verified(checksum(*row), *database.execute("SELECT * FROM t").fetchone())


def test_a_whole_number_has_one_checksum_in_every_column():
    with closing(open_database(None, WORDS, owner="shared")) as database:
        database.execute(INSERT, (1, "x", 5, 7.0, b""))
        assert database.row(VERIFIED, (1,)) == ("x", 1)


def test_rows_that_read_alike_have_different_checksums():
    rows = [(1,), ("1",), (b"1",), (1.5,), ("1.5",), (None,), ("",), (b"",), ("None:",), ("a", "b")]
    rows += [("ab",), ("ab", ""), ("", "ab"), ("a", b"b"), (1, 2), (12,), ("12",), (0,), (-0.5,)]
    found = sorted(checksum(*row) for row in rows)
    assert all(one != other for one, other in pairwise(found))


@pytest.mark.parametrize(
    "change", ["word = 'wold 7'", "at = 1.25", "size = 8", "raw = x'01'", "crc = crc + 1"]
)
@pytest.mark.parametrize("opened_first", [True, False])
def test_a_changed_value_is_damage(tmp_path, change, opened_first):
    path = tmp_path / "words"
    with closing(open_database(path, WORDS, owner="shared")) as database:
        for number in range(20):
            database.execute(INSERT, (number, f"word {number}", 1.0, 7, b"\0"))
    with sqlite3.connect(path) as other:
        other.execute(f"UPDATE words SET {change} WHERE id = 7")
    other.close()
    if opened_first:  # a file that is too large to be checked when it is opened
        with closing(open_database(path, WORDS, owner="shared", check_bytes=0)) as database:
            assert database.row(VERIFIED, (8,)) == ("word 8", 1)
            with pytest.raises(DamagedFile, match="a stored value is not valid"):
                database.row(VERIFIED, (7,))
            with pytest.raises(DamagedFile, match="a stored value is not valid"):
                database.verify("words")
    else:
        with pytest.raises(DamagedFile, match="a stored value is not valid"):
            open_database(path, WORDS, owner="shared")
