"""Where a run is shared, and how its holder begins."""

import os
import re
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from hashlib import blake2b
from pathlib import Path

import attrs

from ...actors import CostBound, SharedStores, StorageError, ValkeyStores
from ..errors import BulkRefused, OutputInUse
from .holder import RunHolder
from .queue import WorkQueue

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
_MOST_OF_STEM = 24  # characters


def _nothing(_: str) -> None:
    """Tell the user nothing."""


@attrs.frozen(kw_only=True)
class SharedRun:
    """Where other processes find the rows of a run. `SharedRun.at` returns that of a server.

    Args:
        place: the argument of `callsheet work`, without secrets.
        queue: returns the queue of a run by the name of the run.
        stores: what the workers share besides: the limits.
        works: whether the process that writes OUTPUT sends rows, too.
        told: called with a sentence for the user.
    """

    place: str
    queue: Callable[[str], WorkQueue] = attrs.field(repr=False)
    stores: SharedStores | None = attrs.field(default=None, repr=False)
    works: bool = True
    told: Callable[[str], None] = attrs.field(default=_nothing, repr=False)

    @classmethod
    def at(cls, url: str) -> "SharedRun":
        """Return a run whose rows are on a server, and whose workers share limits there.

        Args:
            url: the URL of a Valkey or Redis server, such as "valkey://host:6379/0".

        Raises:
            ValueError: the URL names no server.
        """
        return cls.of(ValkeyStores(url))

    @classmethod
    def of(
        cls,
        stores: ValkeyStores,
        *,
        told: Callable[[str], None] = _nothing,
    ) -> "SharedRun":
        """Return a run whose rows are on the server of stores.

        Args:
            stores: what the workers share besides.
            told: called with a sentence for the user.
        """

        def queue(name: str) -> WorkQueue:
            from .valkey import ValkeyQueue  # noqa: PLC0415  # loads the client of the server

            return ValkeyQueue(stores.url, name)

        return cls(
            place=str(stores.url),
            queue=queue,
            stores=stores,
            told=told,
        )


def run_name(output: Path, owner: str) -> str:
    """Return the name of a shared run: the same for each process that has its files.

    Args:
        output: the path of OUTPUT.
        owner: the name that the run has in its store.
    """
    return _name_begins(output) + blake2b(owner.encode(), digest_size=4).hexdigest()


def _name_begins(output: Path) -> str:
    """Return the first part of the name of a run, which its OUTPUT gives."""
    stem = _NOT_IN_NAMES.sub("-", output.stem)[:_MOST_OF_STEM].strip("-").lower()
    return f"{stem}-" if stem else ""


def this_process() -> str:
    """Return a name of this process, which no other one has, or has had."""
    return f"{socket.gethostname()}:{os.getpid()}:{_token()}"


@cache
def _token() -> str:
    """Return what tells a process from an earlier one with its pid, which is 1 in a container."""
    return secrets.token_hex(4)  # unique, whatever the seed is


@contextmanager
def naming_how_to_join(shared: SharedRun | None, output: Path) -> Generator[None]:
    """Name, in the error that another process writes OUTPUT, how this machine can work on the run.

    The whole name of the run is in a file that the other process has locked.

    Args:
        shared: where the run is shared; None for a run of one process.
        output: the path of OUTPUT.

    Raises:
        BulkRefused: another process writes OUTPUT.
    """
    try:
        yield
    except OutputInUse as error:
        if shared is None:
            raise
        remedy = f"let this process work on it: callsheet work {shared.place}"
        if begins := _name_begins(output):
            remedy += f" (if several runs are open there, it is {begins}...)"
        raise BulkRefused(error.reason, f"{remedy}; or give another OUTPUT") from None


@asynccontextmanager
async def open_holder(
    shared: SharedRun,
    name: str,
    settings: bytes,
    *,
    has_budget: bool = False,
    bound: CostBound | None = None,
) -> AsyncGenerator[RunHolder]:
    """Become the process that writes OUTPUT of a shared run, for the length of a block.

    Args:
        shared: where the run is shared.
        name: the name of the run.
        settings: how workers open their troupe.
        has_budget: whether a budget holds for the calls of the run.
        bound: bounds what a row can cost; None if the run itself has no limit of costs.

    Raises:
        BulkRefused: another process writes OUTPUT, or the server cannot be used.
    """
    queue = shared.queue(name)
    async with queue.open():
        holder = RunHolder(queue, this_process(), settings, has_budget=has_budget, bound=bound)
        try:
            other = await holder.begin(shared.told)
        except StorageError as error:
            raise BulkRefused(
                f"{error.name} cannot be used: {error.reason}", error.remedy
            ) from None
        if other:
            raise BulkRefused(
                f"{other} writes OUTPUT of the shared run {name}",
                f"let this machine work on it: callsheet work {shared.place} {name}",
            )
        shared.told(f"Other machines can work on it: callsheet work {shared.place} {name}")
        try:
            yield holder
        finally:
            holder.stop()
