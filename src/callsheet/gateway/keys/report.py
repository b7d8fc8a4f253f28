"""Keys as a table for people, and as JSON for programs; a secret is in neither."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from rich import box
from rich.table import Table
from rich.text import Text

from ...wording import printable
from .key import ApiKey

_USUAL = frozenset({"", "1", "*"})  # cells of a column that need not be shown


def state_of(key: ApiKey, at: float) -> str:
    """Return "valid", "expired" or "revoked".

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


def key_json(key: ApiKey, at: float) -> Mapping[str, object]:
    """Return what a key has, for JSON; times are texts of ISO 8601 in UTC.

    Args:
        key: the key to describe.
        at: Unix time in seconds.
    """
    times = {
        name: None if when is None else datetime.fromtimestamp(when, UTC).isoformat()
        for name, when in (
            ("created_at", key.created_at),
            ("expires_at", key.expires_at),
            ("revoked_at", key.revoked_at),
        )
    }
    state = state_of(key, at)
    return {"id": key.id, "state": state, "prefix": key.prefix, **key.values(), **times}
