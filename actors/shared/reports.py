"""Reports of the programs that share something, for whom looks at all of them."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

REPORT_S: Final = 2.0
"""Seconds from one report of a program to its next one."""

LASTING_S: Final = 10.0
"""Seconds after which a report is gone, because its program has ended or cannot be reached."""


class ReportBoard(Protocol):
    """The latest report of each program. Its errors are those of `StorageError`."""

    @property
    def name(self) -> str:
        """What it is and where, for messages, without secrets (L8)."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the board for the length of a block."""
        ...

    async def report(self, program: str, body: bytes) -> None:
        """Replace the report of a program; it is gone after `LASTING_S`.

        Args:
            program: identifies the program; no other one has this text.
            body: what it says of itself.
        """
        ...

    async def withdraw(self, program: str) -> None:
        """Remove the report of a program that ends.

        Args:
            program: identifies the program.
        """
        ...

    async def reports(self) -> Mapping[str, bytes]:
        """Return the reports that are not gone, by program."""
        ...
