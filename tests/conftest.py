"""What every test gets: a quiet log, and as many random examples as there is time for.

`HYPOTHESIS_PROFILE=thorough pytest` tries ten times as many.
"""

import os

import pytest
import structlog
from hypothesis import settings

settings.register_profile("usual", max_examples=60, deadline=None)
settings.register_profile("thorough", max_examples=600, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))


@pytest.fixture(autouse=True)
def log():
    """The events logged during the test, as dictionaries."""
    structlog.reset_defaults()  # a test of the command line may have set it up in its own way
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch, tmp_path_factory):
    """No test depends on the environment it runs in, or writes into the user's ledger."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    ledger = tmp_path_factory.getbasetemp() / "ledger.db"
    monkeypatch.setenv("CALLSHEET_LEDGER", str(ledger))
