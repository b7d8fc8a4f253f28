"""Where the ledger of this user is."""

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

__all__ = ["LEDGER_VARIABLE", "default_ledger"]

LEDGER_VARIABLE = "CALLSHEET_LEDGER"


def default_ledger(environment: Mapping[str, str] = os.environ) -> Path:
    """The file that $CALLSHEET_LEDGER names, or else one where this system keeps a user's data."""
    named = environment.get(LEDGER_VARIABLE)
    if named:
        return Path(named).expanduser()
    return platformdirs.user_data_path("callsheet") / "ledger.sqlite3"
