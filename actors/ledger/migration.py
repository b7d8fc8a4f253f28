"""How a ledger's file of an earlier version becomes one of this."""

import sqlite3
from collections.abc import Mapping

from .entries import Account, Kind
from .tables import ACCOUNT_CODES, AMOUNT, KIND_CODES, NAMES, SUMMED, TABLES

__all__ = ["migrate"]

_NAMES = ", ".join(NAMES)


def _cases(column: str, codes: Mapping[Kind, int] | Mapping[Account, int]) -> str:
    cases = " ".join(f"WHEN '{name}' THEN {code}" for name, code in codes.items())
    return f"CASE {column} {cases} END"


_KIND = _cases("kind", KIND_CODES)
_ACCOUNT = _cases("account", ACCOUNT_CODES)
_NUMBERED = (
    f"old_entries JOIN headings USING ({_NAMES}) JOIN posts ON posts.name = old_entries.post"
)
# Version 1 had entries alone, each with all its names: what was under way, and what all came to,
# was found out from every one of them.
_STEPS = (
    "ALTER TABLE transactions RENAME TO old_transactions",
    "ALTER TABLE entries RENAME TO old_entries",
    *TABLES[1:],  # the runs stay as they are
    f"""
    INSERT INTO headings ({_NAMES})
    SELECT {_NAMES} FROM old_entries GROUP BY {_NAMES} ORDER BY min(id)
    """,  # noqa: S608  # no names of users, here and below
    "INSERT INTO posts (name) SELECT post FROM old_entries GROUP BY post ORDER BY min(id)",
    f"""
    INSERT INTO transactions
    SELECT id, run, reservation, {_KIND}, at FROM old_transactions ORDER BY id
    """,  # noqa: S608
    f"""
    INSERT INTO entries
    SELECT old_entries.id, entry_of, {_ACCOUNT}, headings.id, posts.id,
        CASE account WHEN 'reserved' THEN '' ELSE call END, {AMOUNT}
    FROM {_NUMBERED} WHERE account <> 'available' ORDER BY old_entries.id
    """,  # noqa: S608
    f"""
    INSERT INTO reservations
    SELECT run, reservation, min(old_entries.id), headings.id, posts.id, call, {SUMMED}
    FROM {_NUMBERED} JOIN old_transactions ON old_transactions.id = entry_of
    WHERE account = 'reserved' AND (run, reservation) IN (
        SELECT run, reservation FROM old_transactions GROUP BY run, reservation
        HAVING sum(kind IN ('settle', 'maybe', 'refund')) = 0
    )
    GROUP BY run, reservation, call, headings.id, posts.id
    """,  # noqa: S608
    # Whoever opens it next books these as perhaps billed, even if their run has ended well.
    "UPDATE runs SET ended_at = NULL WHERE id IN (SELECT run FROM reservations)",
    f"""
    INSERT INTO post_sums
    SELECT post, heading, account, {SUMMED} FROM entries WHERE account <> 1
    GROUP BY post, heading, account
    """,  # noqa: S608
    f"""
    INSERT INTO sums
    SELECT heading, account, {SUMMED} FROM post_sums GROUP BY heading, account
    """,  # noqa: S608
    "DROP TABLE old_entries",
    "DROP TABLE old_transactions",
)


def migrate(connection: sqlite3.Connection) -> None:
    """Make version 2 of version 1, within a transaction."""
    for step in _STEPS:
        connection.execute(step)
