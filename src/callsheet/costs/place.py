"""Where the ledger of this user is."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

__all__ = ["LEDGER_VARIABLE", "default_ledger"]

LEDGER_VARIABLE = "CALLSHEET_LEDGER"


def default_ledger(environment: Mapping[str, str] = os.environ) -> Path:
    """The file that $CALLSHEET_LEDGER names, or else one in the user's folder for such files."""
    named = environment.get(LEDGER_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(click.get_app_dir("callsheet")) / "ledger.sqlite3"
