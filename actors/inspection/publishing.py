"""Reports of a troupe that shares something: what `callsheet top` shows of it at its server's URL.

A report is a reading without actors and single calls, so it is short; and it is gone soon after the
program has ended.
"""

import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, final

import attrs
import msgspec
import trio

from ...runtime import Actor, RestartPolicy, Runtime, Supervisor
from ..shared import REPORT_S, ReportBoard
from ..storage import StorageError
from .lines import UnreadableLine, this_program
from .readings import FORMAT, Reading
from .records import shown

if TYPE_CHECKING:
    from ..shared import SharedStores

_RESTARTS = RestartPolicy(max_restarts=3, period_s=60.0)
_MOST: Final = {"lanes": 50, "limits": 50, "pauses": 20, "endpoints": 20, "errors": 10}
_MOST_MODELS: Final = 20
_WITHDRAW_S: Final = 0.5


@attrs.frozen(kw_only=True)
class ProgramReport:
    """What a program says of one of its troupes.

    Args:
        callsheet: the version of the form of its reading.
        host: the name of its machine.
        pid: the id of the process.
        program: the name of the file that was started.
        troupe: the name of the troupe, if the process has several; else "".
        ledger: the file of its ledger, which several programs of a machine may share; "" without.
        calls_per_s: calls that have ended in a second since the last report.
        reading: the latest reading, without actors and single calls.
    """

    callsheet: int
    host: str
    pid: int
    program: str
    troupe: str
    ledger: str
    calls_per_s: float = 0.0
    reading: Reading


def to_report(report: ProgramReport) -> bytes:
    """Return a report as JSON.

    Args:
        report: what the program says.
    """
    return msgspec.json.encode(report)


def read_report(body: bytes) -> ProgramReport:
    """Read a report.

    Args:
        body: the bytes of the report.

    Raises:
        UnreadableLine: it is no report, or one of another version.
    """
    try:
        report = msgspec.json.decode(body, type=ProgramReport)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableLine("this is no report of Callsheet") from error
    if report.callsheet != FORMAT:
        raise UnreadableLine(f"process {report.pid} on {report.host} has another version")
    return report


def shortened(reading: Reading) -> Reading:
    """Return a reading without actors and single calls, and with the first of all else.

    Args:
        reading: the whole reading.
    """
    spend = reading.spend
    if spend is not None:
        models, budgets = spend.models[:_MOST_MODELS], spend.budgets[:_MOST_MODELS]
        spend = attrs.evolve(spend, models=models, budgets=budgets)
    shorter = attrs.evolve(
        reading,
        actors=(),
        calls=(),
        lanes=reading.lanes[: _MOST["lanes"]],
        limits=reading.limits[: _MOST["limits"]],
        pauses=reading.pauses[: _MOST["pauses"]],
        endpoints=reading.endpoints[: _MOST["endpoints"]],
        errors=reading.errors[: _MOST["errors"]],
        spend=spend,
    )
    left = {name: len(getattr(reading, name)) - len(getattr(shorter, name)) for name in _MOST}
    return attrs.evolve(shorter, left_out={name: count for name, count in left.items() if count})


@attrs.frozen
class Publication:
    """The reports of a troupe, under a supervisor of their own.

    If its actor crashes again and again, it is given up, and nothing else.

    Args:
        supervisor: restarts the actor.
        board: where the reports are.
        report: what the reports say besides the reading.
        key: identifies the troupe on the board.
    """

    supervisor: Supervisor
    board: ReportBoard
    report: ProgramReport
    key: str

    @classmethod
    async def begin(
        cls, place: Runtime | Supervisor, prefix: str, shared: "SharedStores", ledger: str
    ) -> "Publication | None":
        """Add the supervisor, before the stages, so that it is stopped last.

        Args:
            place: the runtime of the troupe, or its supervisor there.
            prefix: a prefix of the actors' names.
            shared: what the troupe shares; it may have no board.
            ledger: the file of its ledger; "" without one.
        """
        board = shared.reports()
        if board is None:
            return None
        supervisor = await place.supervise(
            f"{prefix}reports", restarts=_RESTARTS, restart="temporary"
        )
        program, host = this_program(), shown(socket.gethostname())
        report = ProgramReport(
            callsheet=FORMAT,
            host=host,
            pid=program.pid,
            program=program.program,
            # A prefix without a dot is no name: no other troupe of the process shares anything.
            troupe=shown(prefix[:-1]) if prefix.endswith(".") else "",
            ledger=ledger,
            reading=Reading(at=0.0),
        )
        key = f"{host}:{program.pid}:{prefix}{secrets.token_hex(4)}"  # a fork has its pid, too
        return cls(supervisor, board, report, key)

    async def start(self, read: Callable[[], Awaitable[Reading]]) -> None:
        """Report from now on.

        Args:
            read: returns a reading.
        """
        actor = partial(PublishingActor, self.board, self.report, self.key, read)
        await self.supervisor.spawn("publisher", actor)


@final
class PublishingActor(Actor):
    """Reports a troupe every two seconds. While the board cannot be written, it goes on trying.

    Args:
        board: where the reports are.
        report: what each report says besides the reading.
        key: identifies the troupe on the board.
        read: returns a reading.
    """

    def __init__(
        self,
        board: ReportBoard,
        report: ProgramReport,
        key: str,
        read: Callable[[], Awaitable[Reading]],
    ) -> None:
        self._board = board
        self._report = report
        self._key = key
        self._read = read

    async def started(self) -> None:
        """Open the board.

        Raises:
            StorageError: it cannot be used at all.
        """
        await self.enter_async_context(self._board.open())
        self.nursery.start_soon(self._go_on)

    async def stopped(self) -> None:
        """Remove the report, if that is possible at once."""
        with suppress(StorageError), trio.move_on_after(_WITHDRAW_S):
            await self._board.withdraw(self._key)

    async def _go_on(self) -> None:
        last = None
        while True:
            reading = await self._read()
            done = 0 if last is None else max(0, reading.done - last.done)
            span_s = 0.0 if last is None else reading.at - last.at
            report = attrs.evolve(
                self._report,
                calls_per_s=done / span_s if span_s > 0 else 0.0,
                reading=shortened(reading),
            )
            last = reading
            with suppress(StorageError):  # the stages that need the server report that it is away
                await self._board.report(self._key, to_report(report))
            await trio.sleep(REPORT_S)
