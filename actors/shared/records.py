"""A small set of records that processes share as a whole, such as the keys of a gateway.

A writer replaces what it has read, or learns that another one was faster. All readers hear of it.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, final

import attrs
import trio

from ..storage import StorageUnavailable

LOOK_S = 1.0
"""Seconds after which a reader looks for changes of which it has not heard."""


@attrs.frozen
class Records:
    """What a store has at one moment.

    Args:
        state: identifies this content; "" if nothing was ever written.
        records: each record by its id.
    """

    state: str = ""
    records: Mapping[str, bytes] = attrs.field(factory=dict[str, bytes], repr=False)


class RecordStore(Protocol):
    """A set of records. Its errors are those of `StorageError`."""

    @property
    def name(self) -> str:
        """What it is and where, for messages, without secrets (L8)."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the store for the length of a block.

        Raises:
            StorageError: the store may lose what is written to it.
        """
        ...

    async def read(self, known: str = "") -> Records | None:
        """Return the records; None if they are still those of the known state.

        Args:
            known: the `state` of the last records; "" reads them in any case.
        """
        ...

    async def write(self, known: str, records: Mapping[str, bytes], state: str) -> bool:
        """Add and replace records; return False if others have written since they were read.

        It is safe to repeat, with the same new state, when there was no answer.

        Args:
            known: the state that was read.
            records: what is added or replaced, by the ids.
            state: the new state, which no other writer chooses.
        """
        ...

    async def wait_for_news(self) -> None:
        """Return when the records have changed, or after `LOOK_S`; may return early."""
        ...


@final
class MemoryRecords:
    """A `RecordStore` for the programs of one process that have the same object.

    Args:
        name: what it is, for messages.

    Attributes:
        is_away: whether the store does not answer, which a test can arrange.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_away = False
        self._content = Records()
        self._changed = trio.Event()

    def __repr__(self) -> str:
        return f"<MemoryRecords {len(self._content.records)} in {self.name}>"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """See `RecordStore`."""
        await trio.lowlevel.checkpoint()
        yield

    async def read(self, known: str = "") -> Records | None:
        """See `RecordStore`."""
        await self._answer()
        content = self._content
        return None if known and known == content.state else content

    async def write(self, known: str, records: Mapping[str, bytes], state: str) -> bool:
        """See `RecordStore`."""
        await self._answer()
        content = self._content
        if content.state == state:
            return True
        if content.state != known:
            return False
        self._content = Records(state, {**content.records, **records})
        self._changed.set()
        self._changed = trio.Event()
        return True

    async def wait_for_news(self) -> None:
        """See `RecordStore`."""
        with trio.move_on_after(LOOK_S):
            await self._changed.wait()

    def clear(self) -> None:
        """Lose all records, as a server does whose disk is lost."""
        self._content = Records()

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StorageUnavailable(self.name, "it does not answer", "wait for it")
