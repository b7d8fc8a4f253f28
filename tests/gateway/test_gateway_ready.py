"""Readiness of a gateway whose ledger cannot be written: real time, because threads write it."""

import pytest
from gateway_kit import CHAT, chat, open_kit

from callsheet.actors import Budget, LedgerPolicy
from callsheet.actors.ledger.file import LedgerFile
from callsheet.actors.storage import StorageFull
from callsheet.gateway import views
from callsheet.simulator import ProviderSettings

FAST = ProviderSettings(latency_s=(0.0, 0.0))


@pytest.fixture
def disk(monkeypatch):
    """A disk of ledgers that is full as long as the set is not empty."""
    full, commit = set(), LedgerFile.commit

    def commit_if_there_is_room(file, transactions):
        entries = list(transactions)
        if full and entries:
            file.roll_back()
            raise StorageFull("ledger.sqlite3", "database or disk is full")
        commit(file, entries)

    monkeypatch.setattr(LedgerFile, "commit", commit_if_there_is_room)
    monkeypatch.setattr(views, "_LOOK_S", 0.0)
    monkeypatch.setattr(views, "_PATIENCE_S", 30.0)
    return full


@pytest.mark.parametrize(
    ("budgets", "status"), [([Budget(usd="25", period="day")], 503), ([], 200)]
)
async def test_a_gateway_that_refuses_calls_for_its_ledger_is_not_ready(
    tmp_path, disk, budgets, status
):
    ledger = LedgerPolicy(path=tmp_path / "ledger.sqlite3", budgets=budgets)
    async with open_kit(FAST, troupe={"ledger": ledger}) as kit:

        async def ready():
            answer = await kit.client.ask("/readyz", method="GET")
            return answer.status, answer.json["not_ready"]

        assert (await kit.client.ask(CHAT, chat())).status == 200
        assert await ready() == (200, {})
        disk.add("full")
        assert (await kit.client.ask(CHAT, chat())).status == status
        found, why = await ready()
        assert found == status
        refused = "calls that count against budgets are refused"
        assert refused in why["ledger"] if budgets else why == {}
        disk.clear()
        assert await ready() == (200, {})
