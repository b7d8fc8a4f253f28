"""The built-in provider as a process of its own, for tests that go through real sockets."""

from collections.abc import Iterator

import pytest
from provider_process import provider_process


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """One that answers within some hundredths of a second."""
    with provider_process("--time-scale", "0.02") as base_url:
        yield base_url


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch, tmp_path_factory):
    """No test depends on the environment it runs in, or writes into anybody's books."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    ledger = tmp_path_factory.getbasetemp() / "ledger.db"
    monkeypatch.setenv("CALLSHEET_LEDGER", str(ledger))
