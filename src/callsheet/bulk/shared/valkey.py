"""The queue of a shared run on a Valkey or Redis server: each operation is one script."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import TypeVar, cast, final
from uuid import uuid4

import trio

from ...actors import (
    ServerScript,
    ServerUrl,
    ValkeyClient,
    open_valkey,
)
from ...runtime import open_collapsing_nursery
from .queue import (
    MOST_DELIVERIES,
    BeatReply,
    HoldReply,
    QueueAnswer,
    QueuedRow,
    RowAnswer,
    RunCard,
    RunState,
    TakenRow,
    TakeReply,
)

T = TypeVar("T")

KEPT_S = 7 * 86400.0
"""Seconds for which a run stays on the server without a sign of its holder and of any worker."""

_LEAST_S = 0.001  # a wait of less may end before it has begun, again and again
_POLL_S = 1.0  # a hint may be lost, and a lease may end while a worker waits
_KEYS = ("card", "rows", "answers", "keys", "leases", "reports", "late")
_RUNS = "callsheet:runs"  # a sorted set: names of runs by the time at which they began
_ROW_FIELDS = 4  # entry, key, body, deliveries
_AT_ONCE = 1000  # rows, keys or entries in one script
_BYTES_AT_ONCE = 4 * 1024**2
_ANSWER_FIELDS = 5  # entry, key, body, worker, deliveries


@final
class ValkeyQueue:
    """The queue of one run on a server.

    Args:
        url: where the server is.
        run: the name of the run.
        time_ms: returns the time in milliseconds; None for the time of the server.
    """

    def __init__(
        self, url: ServerUrl, run: str, *, time_ms: Callable[[], int] | None = None
    ) -> None:
        self._url = url
        self._name = run
        self._keys = [f"callsheet:run:{{{run}}}:{part}" for part in _KEYS]
        self._session = uuid4().hex
        self._puts = 0
        self._putting = trio.Lock()  # the server refuses a put that comes after a later one
        self._client: ValkeyClient | None = None
        self._nursery: trio.Nursery | None = None
        self._changed: dict[str, trio.Event] = {}  # {channel: the next hint}
        self._time_ms = time_ms

    def __repr__(self) -> str:
        return f"<ValkeyQueue {self._name} {self._url}>"

    @property
    def name(self) -> str:
        """See `WorkQueue`."""
        return f"the shared run {self._name} on {self._url}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """See `WorkQueue`."""
        async with (
            open_valkey(self._url) as self._client,
            open_collapsing_nursery() as self._nursery,
        ):
            try:
                yield
            finally:
                self._nursery.cancel_scope.cancel()
                self._changed.clear()

    async def check(self) -> None:
        """See `WorkQueue`."""
        await self._server.check(keeps=True)

    # ---------------------------------------------------------------- the holder

    async def hold(
        self,
        holder: str,
        settings: bytes,
        *,
        lease_s: float,
        most_deliveries: int = MOST_DELIVERIES,
    ) -> HoldReply:
        """See `WorkQueue`."""
        fresh = uuid4().hex[:12]
        lease_ms = round(1000 * lease_s)
        reply = await self._run("hold", holder, settings, lease_ms, fresh, most_deliveries)
        is_held, who, epoch = cast("tuple[int, bytes, bytes]", reply)
        if epoch == fresh.encode():
            # Another key, which need not be in the same script: it only helps to find runs.
            await self._server.command("ZADD", _RUNS, await self._seconds(), self._name)
            await self._server.command("EXPIRE", _RUNS, round(KEPT_S))
        return HoldReply(is_held=bool(is_held), holder=who.decode(), epoch=epoch.decode())

    async def put(self, holder: str, rows: Sequence[QueuedRow]) -> bool:
        """See `WorkQueue`."""
        for some in _parts(rows, lambda row: len(row.body)):
            async with self._putting:
                self._puts += 1
                parts = [part for row in some for part in (row.key, row.body)]
                if not await self._run("put", holder, self._session, self._puts, *parts):
                    return False
        return True

    async def left(self, after: str, count: int) -> Sequence[TakenRow]:
        """See `WorkQueue`."""
        return _taken(await self._run("left", after, count)).rows

    async def withdraw(self, holder: str, keys: Sequence[str]) -> Sequence[str]:
        """See `WorkQueue`."""
        removed: list[str] = []
        for some in _parts(keys, len):
            removed += _texts(await self._run("withdraw", holder, *some))
        return removed

    async def answers(self, after: str, count: int, *, wait_s: float) -> Sequence[QueueAnswer]:
        """See `WorkQueue`."""

        async def ask() -> list[QueueAnswer]:
            reply = cast("list[bytes]", await self._run("answers", after, count))
            return [_answer(*reply[i : i + _ANSWER_FIELDS]) for i in _steps(reply, _ANSWER_FIELDS)]

        return await self._wait(ask, bool, "answers", wait_s)

    async def stored(self, holder: str, entries: Sequence[str]) -> bool:
        """See `WorkQueue`."""
        for some in _parts(entries, len):
            if not await self._run("stored", holder, *some):
                return False
        return True

    async def change_state(self, holder: str, state: RunState) -> bool:
        """See `WorkQueue`."""
        return bool(await self._run("change", holder, state))

    async def end(self, holder: str, *, forget: bool) -> bool:
        """See `WorkQueue`."""
        is_ended = bool(await self._run("finish", holder, int(forget)))
        if is_ended and forget:
            await self._server.command("ZREM", _RUNS, self._name)
        return is_ended

    # ---------------------------------------------------------------- workers

    async def take(self, worker: str, count: int, *, wait_s: float) -> TakeReply:
        """See `WorkQueue`."""
        state: list[RunState | None] = []

        async def ask() -> TakeReply:
            return _taken(await self._run("take", worker, count))

        def is_over(reply: TakeReply) -> bool:
            state.append(reply.state)
            return bool(reply.rows) or state[0] != reply.state

        return await self._wait(ask, is_over, "rows", wait_s)

    async def own(self, worker: str) -> TakeReply:
        """See `WorkQueue`."""
        return _taken(await self._run("own", worker))

    async def beat(self, worker: str, report: bytes, entries: Sequence[str]) -> BeatReply:
        """See `WorkQueue`."""
        reply = await self._run("beat", worker, report, *entries)
        state, epoch, has_more, before, is_held, lost = cast(
            "tuple[bytes, bytes, int, bytes, int, list[bytes]]", reply
        )
        return BeatReply(
            state=_state(state),
            epoch=epoch.decode(),
            lost=_texts(lost),
            has_more=bool(has_more),
            stored_before=before.decode(),
            has_holder=bool(is_held),
        )

    async def answer(self, worker: str, answers: Sequence[RowAnswer]) -> Sequence[str] | None:
        """See `WorkQueue`."""
        parts = [part for one in answers for part in (one.entry, one.key, one.body)]
        reply = await self._run("answer", worker, *parts)
        return None if reply is None else _texts(reply)

    async def give_back(self, worker: str, entries: Sequence[str]) -> None:
        """See `WorkQueue`."""
        await self._run("give_back", worker, *entries)

    async def leave(self, worker: str) -> None:
        """See `WorkQueue`."""
        await self._run("leave", worker)

    # ---------------------------------------------------------------- anyone

    async def card(self) -> RunCard | None:
        """See `WorkQueue`."""
        reply = cast("list[object]", await self._run("card"))
        if not reply:
            return None
        state, settings, epoch, holder = cast("list[bytes]", reply[:4])
        counts = [int(cast("bytes | int", one)) for one in reply[4:10]]
        workers = cast("list[bytes]", reply[10])
        return RunCard(
            name=self._name,
            state=_state(state) or "ended",
            settings=settings,
            epoch=epoch.decode(),
            holder=holder.decode(),
            waiting=counts[0],
            taken=counts[1],
            answered=counts[2],
            taken_over=counts[3],
            answered_twice=counts[4],
            parked=counts[5],
            workers={workers[i].decode(): workers[i + 1] for i in _steps(workers, 2)},
        )

    # ---------------------------------------------------------------- parts

    @property
    def _server(self) -> ValkeyClient:
        if self._client is None:
            raise RuntimeError(f"{self.name} is used outside its block; use 'async with open()'")
        return self._client

    async def _run(self, operation: str, *parts: str | bytes | float) -> object:
        time_ms = "" if self._time_ms is None else self._time_ms()
        return await self._server.run(
            _script(), self._keys, [operation, time_ms, round(1000 * KEPT_S), *parts]
        )

    async def _seconds(self) -> int:
        return int(cast("list[bytes]", await self._server.command("TIME"))[0])

    async def _wait(
        self,
        ask: Callable[[], Awaitable[T]],
        is_over: Callable[[T], bool],
        channel: str,
        wait_s: float,
    ) -> T:
        """Ask again at each hint, and each second, until there is something or time is over."""
        ends_at = trio.current_time() + wait_s
        changed = self._next_hint(channel) if wait_s > 0 else None
        while True:
            reply = await ask()
            left_s = ends_at - trio.current_time()
            if changed is None or is_over(reply) or left_s < _LEAST_S:
                return reply
            with trio.move_on_after(min(_POLL_S, left_s)):
                await changed.wait()
            changed = self._next_hint(channel)

    def _next_hint(self, channel: str) -> trio.Event:
        """Return the event of the next hint; subscribe first, if nothing has waited before."""
        if channel not in self._changed:
            if self._nursery is None:
                raise RuntimeError(f"{self.name} is used outside its block")
            self._changed[channel] = trio.Event()
            self._nursery.start_soon(self._read_hints, channel)
        elif self._changed[channel].is_set():
            self._changed[channel] = trio.Event()
        return self._changed[channel]

    async def _read_hints(self, channel: str) -> None:
        async with self._server.hints(f"{self._keys[0]}:{channel}") as hints:
            while True:
                if await hints.wait() is not None:
                    self._changed[channel].set()


async def runs_at(client: ValkeyClient) -> list[str]:
    """Return the names of the runs on a server, the latest first.

    Args:
        client: the connection to the server.

    Raises:
        StorageError: the server is away, or unsuitable.
    """
    return _texts(await client.command("ZRANGE", _RUNS, 0, -1, "REV"))


@cache
def _script() -> ServerScript:
    return ServerScript(files(__package__ or "").joinpath("queue.lua").read_text("utf-8"))


def _taken(reply: object) -> TakeReply:
    state, epoch, *rest = cast("list[bytes]", reply)
    rows = [
        TakenRow(entry.decode(), QueuedRow(key.decode(), body), int(deliveries))
        for i in _steps(rest, _ROW_FIELDS)
        for entry, key, body, deliveries in (rest[i : i + _ROW_FIELDS],)
    ]
    return TakeReply(state=_state(state), epoch=epoch.decode(), rows=rows)


def _answer(entry: bytes, key: bytes, body: bytes, worker: bytes, deliveries: bytes) -> QueueAnswer:
    return QueueAnswer(
        entry=entry.decode(),
        key=key.decode(),
        body=body,
        deliveries=int(deliveries),
        is_parked=not worker,
        worker=worker.decode(),
    )


def _state(state: bytes) -> RunState | None:
    return cast("RunState", state.decode()) if state else None


def _texts(reply: object) -> list[str]:
    return [text.decode() for text in cast("list[bytes]", reply)]


def _parts(items: Sequence[T], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Yield the items in parts of which the server makes one after another, and others between."""
    begin = room = 0
    for number, item in enumerate(items):
        room -= size(item)
        if number > begin and (room < 0 or number - begin >= _AT_ONCE):
            yield items[begin:number]
            begin, room = number, _BYTES_AT_ONCE - size(item)
        elif number == begin:
            room = _BYTES_AT_ONCE - size(item)
    if begin < len(items) or not items:  # nothing is asked for, too
        yield items[begin:]


def _steps(items: Sequence[object], size: int) -> range:
    return range(0, len(items), size)
