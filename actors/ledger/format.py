"""The format of a ledger file: its tables, and the numbers that stand for names in them."""

from ..storage import DatabaseFormat, FormatUpgrade
from .amount_columns import AMOUNT, AMOUNT_COLUMNS, ExactSum, exact_add
from .entries import Account, TransactionKind, is_simulated

LABEL = ("tenant", "model", "day", "route", "endpoint")
"""The columns of a label. The post is in a table of its own: each call may have another one."""

# The account "available" is not in the file: it is the negative sum of the others.
# The tables are those of version 6, and so is the text of their comments, which has no account 4.
ACCOUNT_CODES: dict[Account, int] = {"reserved": 1, "spent": 2, "maybe_billed": 3, "unknown": 4}
ACCOUNTS: dict[int, Account] = {code: account for account, code in ACCOUNT_CODES.items()}
KIND_CODES: dict[TransactionKind, int] = {
    "reserve": 1,
    "extend": 2,
    "settle": 3,
    "maybe": 4,
    "refund": 5,
    "attach": 6,
}

_FORMER_RUNS = """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, began_at REAL NOT NULL,
        ended_at REAL,
        has_all INTEGER NOT NULL DEFAULT 0 -- 1: what it could not write was written by a later run
    )
    """
_RUNS = """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, began_at REAL NOT NULL,
        ended_at REAL,
        has_all INTEGER NOT NULL, -- 1: what it could not write was written by a later run
        crc INTEGER NOT NULL
    )
    """
_OTHER_TABLES = (
    """
    CREATE TABLE labels (
        id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, model TEXT NOT NULL, day TEXT NOT NULL,
        route TEXT NOT NULL, endpoint TEXT NOT NULL, crc INTEGER NOT NULL,
        UNIQUE (tenant, model, day, route, endpoint)
    )
    """,
    """
    CREATE TABLE posts (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, crc INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE transactions (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, reservation TEXT NOT NULL,
        kind INTEGER NOT NULL, -- 1 reserve, 2 extend, 3 settle, 4 maybe, 5 refund, 6 attach
        at REAL NOT NULL, crc INTEGER NOT NULL
    )
    """,
    f"""
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY, entry_of INTEGER NOT NULL REFERENCES transactions,
        account INTEGER NOT NULL, -- 1 reserved, 2 spent, 3 maybe_billed
        label INTEGER NOT NULL REFERENCES labels, post INTEGER NOT NULL REFERENCES posts,
        call TEXT NOT NULL, -- '' for account 1
        {AMOUNT_COLUMNS}, crc INTEGER NOT NULL
    )
    """,
    # The reservations of calls in flight. A row is deleted when its reservation ends.
    f"""
    CREATE TABLE reservations (
        run INTEGER NOT NULL REFERENCES runs, reservation TEXT NOT NULL, payer INTEGER NOT NULL,
        label INTEGER NOT NULL REFERENCES labels, post INTEGER NOT NULL REFERENCES posts,
        call TEXT NOT NULL, {AMOUNT_COLUMNS}, crc INTEGER NOT NULL,
        PRIMARY KEY (run, reservation, payer)
    ) WITHOUT ROWID
    """,
    # The sums of the entries of all accounts but 1, so that a reader need not add up all entries.
    f"""
    CREATE TABLE sums (
        label INTEGER NOT NULL REFERENCES labels, account INTEGER NOT NULL, {AMOUNT_COLUMNS},
        crc INTEGER NOT NULL, PRIMARY KEY (label, account)
    ) WITHOUT ROWID
    """,
    f"""
    CREATE TABLE post_sums (
        post INTEGER NOT NULL REFERENCES posts, label INTEGER NOT NULL REFERENCES labels,
        account INTEGER NOT NULL, {AMOUNT_COLUMNS}, crc INTEGER NOT NULL,
        PRIMARY KEY (post, label, account)
    ) WITHOUT ROWID
    """,
)

CHECKED = {
    "runs": "id, pid, began_at, ended_at, has_all",
    "labels": f"id, {', '.join(LABEL)}",
    "posts": "id, name",
    "transactions": "id, run, reservation, kind, at",
    "entries": f"id, entry_of, account, label, post, call, {AMOUNT}",
    "reservations": f"run, reservation, payer, label, post, call, {AMOUNT}",
    "sums": f"label, account, {AMOUNT}",
    "post_sums": f"post, label, account, {AMOUNT}",
}
"""The columns of each table whose rows have a checksum."""

# Versions 6 and 7 have no checksums of runs, and version 6 has no account 4.
_WITH_CHECKSUMS_OF_RUNS = FormatUpgrade(
    (_FORMER_RUNS, *_OTHER_TABLES),
    (
        "CREATE TEMP TABLE former AS SELECT * FROM runs",
        "DROP TABLE runs",
        _RUNS,
        f"INSERT INTO runs SELECT {CHECKED['runs']}, checksum({CHECKED['runs']}) FROM former",  # noqa: S608  # constants
        "DROP TABLE former",
    ),
)

LEDGER_FORMAT = DatabaseFormat(
    noun="ledger",
    application_id=0x63616C6C,  # "call"
    version=8,
    schema=(_RUNS, *_OTHER_TABLES),
    earlier={6: _WITH_CHECKSUMS_OF_RUNS, 7: _WITH_CHECKSUMS_OF_RUNS},
    checked=CHECKED,
    checked_when_read=frozenset({"runs", "posts", "transactions", "entries", "post_sums"}),
    functions={"exact_add": (2, exact_add), "is_simulated": (1, is_simulated)},
    aggregates={"exact_sum": (1, ExactSum)},
)
