"""Keys as a table for people, and as JSON for programs; a secret is in neither."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

import attrs
from rich import box
from rich.table import Table
from rich.text import Text

from ...wording import printable
from .key import ApiKey

KeyState = Literal["valid", "expired", "revoked"]
"""Whether calls with a key are accepted, or why not."""

_USUAL = frozenset({"", "1", "*"})  # cells of a column that need not be shown


def state_of(key: ApiKey, at: float) -> KeyState:
    """Return whether calls with a key are accepted.

    Args:
        key: the key to describe.
        at: Unix time in seconds.
    """
    if key.revoked_at is not None:
        return "revoked"
    return "valid" if key.is_valid(at) else "expired"


def moment(at: float) -> str:
    """Return a time for people, such as "2026-12-24 18:00 UTC".

    Args:
        at: Unix time in seconds.
    """
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def keys_table(keys: Iterable[ApiKey], at: float) -> Table:
    """Return keys as a table for a terminal of 80 columns.

    A column in which every key has what is usual is left out.

    Args:
        keys: the keys to show.
        at: Unix time in seconds.
    """
    keys = tuple(keys)
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="bold")
    for name in ("name", "id", "key"):
        table.add_column(name, overflow="fold", no_wrap=name != "name")
    columns: dict[str, Callable[[ApiKey], str]] = {
        "lane": lambda key: "" if key.lane == key.name else key.lane,
        "weight": lambda key: f"{key.weight:g}",
        "limits": limits_of,
        "models": lambda key: ", ".join(key.models),
        "budgets": lambda key: ", ".join(key.budgets),
        "allow": lambda key: "" if key.allow is None else ", ".join(key.allow) or "nothing",
        "admin": lambda key: "yes" if key.is_admin else "",
        "ends": lambda key: _end(key, at),
    }
    shown = {name: cell for name, cell in columns.items() if not _USUAL.issuperset(map(cell, keys))}
    for name in shown:
        table.add_column(name, overflow="fold")
    for key in keys:
        cells = [key.name, key.id, key.prefix, *(cell(key) or "-" for cell in shown.values())]
        style = "" if key.is_valid(at) else "dim"
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    return table


def limits_of(key: ApiKey) -> str:
    """Return the limits of a key's own in words; "" if it has none.

    Args:
        key: the key to describe.
    """
    words = {"rpm": key.rpm, "tpm": key.tpm, "in flight": key.in_flight}
    return ", ".join(f"{value:,g} {name}" for name, value in words.items() if value is not None)


def _end(key: ApiKey, at: float) -> str:
    if key.revoked_at is not None:
        return f"revoked {moment(key.revoked_at)}"
    if key.expires_at is None:
        return ""
    return moment(key.expires_at) if key.is_valid(at) else f"expired {moment(key.expires_at)}"


@attrs.frozen(kw_only=True)
class ListedKey:
    """A key without its secret.

    Args:
        id: the id of the key, such as "k_3f9a1c0b77de".
        state: whether calls with the key are accepted.
        prefix: the beginning of its secret, by which people recognize it.
        name: the name of the key; the tenant that budgets and costs are for.
        lane: the lane in which its calls wait.
        weight: the share of its lane in the provider's limits, relative to those of other lanes.
        rpm: requests a minute of the key's own; null for no limit.
        tpm: tokens a minute of the key's own; null for no limit.
        in_flight: the most calls that it may have in flight at a time; null for no limit.
        models: patterns of the models that it may use, such as "gpt-5*".
        budgets: what may be spent in USD, such as "25/day", "100/month" or "500" in total.
        allow: what its calls use without asking for it; null for what the settings file of the
            gateway allows every key.
        is_admin: whether the key may also see the page, the metrics and the readings.
        created_at: when it was created, ISO 8601 in UTC.
        expires_at: when it ends, ISO 8601 in UTC; null for never.
        revoked_at: when it was revoked, ISO 8601 in UTC; null if it was not.
    """

    id: str
    state: KeyState
    prefix: str
    name: str
    lane: str
    weight: float
    rpm: float | None
    tpm: float | None
    in_flight: int | None
    models: Sequence[str]
    budgets: Sequence[str]
    allow: Sequence[str] | None
    is_admin: bool
    created_at: str
    expires_at: str | None
    revoked_at: str | None

    @classmethod
    def of(cls, key: ApiKey, at: float) -> "ListedKey":
        """Return what a key has.

        Args:
            key: the key to describe.
            at: Unix time in seconds.
        """
        return cls(
            id=key.id,
            state=state_of(key, at),
            prefix=key.prefix,
            **key.values(),
            created_at=_iso(key.created_at),
            expires_at=None if key.expires_at is None else _iso(key.expires_at),
            revoked_at=None if key.revoked_at is None else _iso(key.revoked_at),
        )


@attrs.frozen
class KeyList:
    """What `callsheet keys list --json` and `callsheet keys revoke --json` write.

    Args:
        store: the name of the key store.
        keys: the keys, the oldest first; those that were revoked.
    """

    store: str
    keys: Sequence[ListedKey]


@attrs.frozen
class CreatedKey:
    """What `callsheet keys create --json` writes.

    Args:
        store: the name of the key store.
        secret: the key itself, which cannot be shown again.
        key: what the key has besides.
        replaced: the former keys of the same name, which end soon (`--replace`).
    """

    store: str
    secret: str
    key: ListedKey
    replaced: Sequence[ListedKey]


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
