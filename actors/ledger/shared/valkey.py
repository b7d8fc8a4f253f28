"""Shared budgets on a Valkey or Redis server: one script, which is as `SharedBudgets`."""

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import cast, final

import msgspec

from ...valkey import ServerAway, ServerScript, ServerUrl, ValkeyClient, open_valkey
from .exchange import PICO, CellTotal, LedgerAnswer, LedgerAsk

_Money = tuple[int, int]  # whole dollars, and picodollars below one
_Total = tuple[str, _Money, _Money, _Money, _Money]  # cell, used, reserved, maybe, own
_Answer = tuple[str, str, list[int], list[_Total], str, str, int]  # as the script returns it


@cache
def _script() -> ServerScript:
    return ServerScript(
        files(__name__.rpartition(".")[0]).joinpath("budgets.lua").read_text(encoding="utf-8")
    )


@final
class ValkeyLedgerStore:
    """Shared budgets on a server.

    Args:
        url: where the server is.
        shared_name: what the budgets are shared under; see `LedgerPolicy`.
        now: Unix time in seconds for all questions, in tests; None for the clock of the server.
    """

    def __init__(self, url: ServerUrl, shared_name: str = "", *, now: float | None = None) -> None:
        self.url = url
        self.now = now
        digest = sha256(shared_name.encode()).hexdigest()[:16] if shared_name else "all"
        self._root = f"callsheet:{{budgets:{digest}}}"
        self._client: ValkeyClient | None = None

    def __repr__(self) -> str:
        return f"<ValkeyLedgerStore {self.url}>"

    @property
    def name(self) -> str:
        """See `LedgerStore`."""
        return f"the shared server {self.url}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """See `LedgerStore`."""
        async with open_valkey(self.url) as client:
            self._client = client
            try:
                yield
            finally:
                self._client = None

    async def check(self) -> None:
        """See `LedgerStore`."""
        await self._opened().check(keeps=True)

    async def ask(self, ask: LedgerAsk) -> LedgerAnswer:
        """See `LedgerStore`."""
        now = "" if self.now is None else repr(self.now)
        arguments = (encode(ask), secrets.token_hex(12), now)
        reply = await self._opened().run(_script(), [self._root], arguments)
        return decode(cast("bytes", reply))

    def _opened(self) -> ValkeyClient:
        if self._client is None:
            raise ServerAway(self.name, "the troupe that uses it has stopped")
        return self._client


def encode(ask: LedgerAsk) -> bytes:
    """Return a question as the script reads it."""
    return msgspec.msgpack.encode(
        {
            "process": ask.process,
            "number": ask.number,
            "contributor": ask.contributor,
            "version": ask.version,
            "stamp": ask.stamp,
            "epoch": ask.epoch,
            "uses": [
                {
                    "cell": use.cell,
                    "used": _money(use.used),
                    "reserved": _money(use.reserved),
                    "keep_s": use.keep_s,
                    "others": _money(use.others),
                }
                for use in ask.uses
            ],
            "wants": [
                [
                    {
                        "cell": need.cell,
                        "amount": _money(need.amount),
                        "most": _money(need.most),
                        "keep_s": need.keep_s,
                    }
                    for need in want
                ]
                for want in ask.wants
            ],
            "watched": ask.watched,
            "leaves": ask.leaves,
            "is_last": ask.is_last,
        }
    )


def decode(reply: bytes) -> LedgerAnswer:
    """Return the answer that the script has given."""
    epoch, opens_in_s, verdicts, totals, version, stamp, processes = msgspec.msgpack.decode(
        reply, type=_Answer, strict=False
    )
    return LedgerAnswer(
        epoch=epoch,
        opens_in_s=float(opens_in_s),
        verdicts=tuple(verdicts),
        totals={one[0]: _total(one[1:]) for one in totals},
        version=int(version),
        stamp=float(stamp),
        processes=processes,
    )


def _money(pico: int) -> _Money:
    return divmod(pico, PICO)


def _total(amounts: Sequence[_Money]) -> CellTotal:
    return CellTotal(*(dollars * PICO + rest for dollars, rest in amounts))
