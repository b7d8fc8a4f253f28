"""The server that programs share, as a source of readings: each is of all of them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from ..actors import (
    FORMAT,
    InspectedProgram,
    ProgramReport,
    Reading,
    ReportBoard,
    RunReading,
    ServerUrl,
    StorageError,
    UnreadableLine,
    ValkeyClient,
    open_valkey,
    read_report,
    stores_at,
)
from ..bulk.shared.valkey import ValkeyQueue, runs_at
from .reading_source import NoReading
from .workers import reading_of_all

_MOST_RUNS: Final = 20


@asynccontextmanager
async def open_server(url: str) -> AsyncGenerator["ServerSource"]:
    """Connect to a server.

    Args:
        url: the URL of the server.

    Raises:
        NoReading: the URL names no server, or the server cannot be used; the message says why.
    """
    try:
        server = ServerUrl.parse(url)
        board = stores_at(url).reports()
    except ValueError as error:
        raise NoReading(str(error)) from None
    if board is None:
        raise NoReading(f"programs do not report to {server}")
    try:
        async with board.open(), open_valkey(server) as client:
            yield ServerSource(client, board)
    except StorageError as error:
        raise NoReading(str(error)) from None


@final
class ServerSource:
    """A server as a `ReadingSource`.

    Args:
        client: the connection to the server.
        board: the reports of the programs.
    """

    def __init__(self, client: ValkeyClient, board: ReportBoard) -> None:
        self.program = InspectedProgram(callsheet=FORMAT, pid=0, program=str(client.url))
        self._client = client
        self._board = board

    async def read(self) -> Reading:
        """See `ReadingSource`."""
        reports: list[ProgramReport] = []
        try:
            for body in (await self._board.reports()).values():
                try:
                    reports.append(read_report(body))
                except UnreadableLine:
                    continue  # of another version
            runs = await _runs(self._client)
        except StorageError as error:
            raise NoReading(str(error)) from None
        return reading_of_all(reports, runs, trio.current_time())


async def _runs(client: ValkeyClient) -> list[RunReading]:
    """Return the latest runs on a server."""
    found: list[RunReading] = []
    for name in (await runs_at(client))[:_MOST_RUNS]:
        queue = ValkeyQueue(client.url, name)
        async with queue.open():
            card = await queue.card()
        if card is not None:
            found.append(
                RunReading(
                    name=card.name,
                    state=card.state,
                    holder=card.holder,
                    waiting=card.waiting,
                    taken=card.taken,
                    answered=card.answered,
                    workers=len(card.workers),
                )
            )
    return found
