"""What a troupe reports to the server that it shares."""

from contextlib import asynccontextmanager

import pytest
import trio
from provided import asked, house

from callsheet.actors import AuthenticationFailed, MemoryStores, read_report
from callsheet.actors.inspection import Publication
from callsheet.runtime import open_runtime


class Board:
    """A board in memory."""

    def __init__(self):
        self.found = {}

    @asynccontextmanager
    async def open(self):
        yield

    async def report(self, program, body):
        self.found[program] = read_report(body)

    async def withdraw(self, program):
        del self.found[program]


def stores_with(board):
    stores = MemoryStores()
    stores.reports = lambda: board
    return stores


async def test_reports_have_costs_and_errors_without_a_ledger_and_a_socket(autojump_clock):
    board = Board()
    async with house("401", shared=stores_with(board)) as at:
        with pytest.raises(AuthenticationFailed):
            await at.troupe.complete(asked())
        await at.troupe.complete(asked())
        await trio.sleep(2.0)
        (report,) = board.found.values()
        assert [(one.kind, one.failed) for one in report.reading.errors] == [
            ("AuthenticationFailed", 1)
        ]
        assert float(report.reading.spend.known_usd) > 0
        assert report.reading.spend.source == "calls"


@pytest.mark.parametrize(
    ("prefix", "troupe"), [("", ""), ("main.", "main"), ("own-", ""), ("main#2.", "main#2")]
)
async def test_a_report_names_the_troupe_if_the_process_has_several(prefix, troupe, autojump_clock):
    async with open_runtime() as runtime:
        published = await Publication.begin(runtime, prefix, stores_with(Board()), "")
    assert published.report.troupe == troupe
