"""The server that programs share, as a source of readings: each is of all of them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import trio

from ..actors import (
    InspectedProgram,
    ProgramReport,
    Reading,
    ReportBoard,
    StorageError,
    UnreadableLine,
    read_report,
)
from .reading_source import NoReading
from .workers import reading_of_all

if TYPE_CHECKING:
    from ..actors import SharedStores

_FORMAT: Final = 1


@asynccontextmanager
async def open_server(url: str) -> AsyncGenerator["ServerSource"]:
    """Connect to a server.

    Args:
        url: the URL of the server.

    Raises:
        NoReading: the URL names no server, or the server cannot be used; the message says why.
    """
    from ..actors import stores_at  # noqa: PLC0415  # most readings are of a socket

    try:
        stores = stores_at(url)
    except ValueError as error:
        raise NoReading(str(error)) from None
    board = stores.reports()
    if board is None:
        raise NoReading(f"{stores.name} has no reports")
    try:
        async with board.open():
            yield ServerSource(stores, board)
    except StorageError as error:
        raise NoReading(str(error)) from None


@final
class ServerSource:
    """A server as a `ReadingSource`.

    Args:
        stores: the stores on the server.
        board: the reports of the programs.
    """

    def __init__(self, stores: "SharedStores", board: ReportBoard) -> None:
        where = stores.name.removeprefix("the shared server ")
        self.program = InspectedProgram(callsheet=_FORMAT, pid=0, program=where)
        self._stores = stores
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
        except StorageError as error:
            raise NoReading(str(error)) from None
        return reading_of_all(reports, (), trio.current_time())
