"""The tree of actors of a run: it starts here, and ends here stage by stage (R11).

    run
    ├── observers                 calls the observers of rows
    ├── store                     the run store
    │   └── writer                OUTPUT
    ├── requester, limiter, ...   the troupe
    ├── limits                    reads the limiter's state for the progress
    ├── dispatcher                sends rows
    └── reader                    reads rows

Each stage starts after the one that it feeds, and is stopped before it. After a crash of one of
them no row starts any more: the calls in flight end, the store keeps them, and the run ends with
one line. The store and the dispatcher are restarted to do so, and keep their mailboxes (R2). The
reader and the writer are not: what they would still do, the next run does from the input and the
store.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import final

import attrs
import trio

from ...actors import (
    InThread,
    LedgerPolicy,
    StageObserver,
    Troupe,
    TroupeSettings,
    UnwrittenCosts,
    cast_troupe,
    cost_bound,
)
from ...runtime import (
    ActorCrashed,
    AnyRef,
    AskFailed,
    Ref,
    Runtime,
    open_collapsing_nursery,
    open_runtime,
)
from ..errors import RunEnding, crash_ending
from ..progress import RowObserver
from ..row import BadRow, Row
from ..settings import Paths
from ..shared.sharing import naming_how_to_join
from .dispatch import OBSERVED, Dispatch
from .dispatcher import AddRows, Control, DispatcherActor, EndRun, GetRoom, WaitClosed, WaitOver
from .reader import ReaderActor
from .reporting import LimitsActor, ObserverActor, ReportRows, SeenLimits
from .routing import RunJournal, plan_run
from .run import BulkRun
from .sharing import Sharing, open_sharing
from .store import AdmitRows, FinishRun, GetRunInfo, Keep, NoteBatches, StoreActor, StorePlace

_ACKNOWLEDGE_S = 5.0  # at the end of the run; later acknowledgements are not worth a wait
_KEEPS = 256  # messages that the mailbox of the store holds


@attrs.frozen
class RunOrder:
    """What `callsheet.bulk.bulk` was called with; see there.

    Args:
        rows: the rows of the input.
        place: what the store needs, with the settings of the run.
        troupe: the settings of the troupe, as the user gave them.
        observers: called for each row that has ended.
        in_thread: runs blocking disk access.
        wall_clock: returns the Unix time in seconds.
    """

    rows: Iterator[Row | BadRow]
    place: StorePlace
    troupe: TroupeSettings
    observers: Sequence[RowObserver]
    in_thread: InThread
    wall_clock: Callable[[], float]


async def run_tree(order: RunOrder, task_status: trio.TaskStatus[BulkRun]) -> None:
    """Run the actors of a run until its rows have ended and the block of `bulk` is left.

    A cancellation from outside reaches the run as a message, `EndAtOnce`, so that what was received
    is stored, and what may be billed is counted.

    Args:
        order: what the run is to do.
        task_status: gets the run when it has started.

    Raises:
        BulkRefused: the run was not started; the text has the reason and the remedy.
        RestartIntensityExceeded: an actor has crashed too often.
    """
    with trio.CancelScope(shield=True):
        async with open_runtime("run") as runtime, open_collapsing_nursery() as calls:
            tree = _RunTree(order, runtime, calls)
            await tree.start_store()
            async with AsyncExitStack() as shared:
                await tree.start_troupe(shared)
                await tree.start_dispatcher()
                await tree.start_reader()
                run = tree.run
                task_status.started(run)
                ending = await tree.end()
            run.finish(ending)
            await run.left.wait()


@final
class _RunTree:
    """Starts the actors of a run, and ends the run stage by stage.

    Args:
        order: what the run is to do.
        runtime: the runtime that the actors run in.
        calls: the nursery of calls that need a task.

    Attributes:
        run: the run, once its dispatcher has started.
    """

    run: BulkRun
    _store: Ref[AdmitRows | Keep | FinishRun]
    _dispatcher: Ref[Control | AddRows | GetRoom | WaitClosed | WaitOver]
    _state: Dispatch
    _troupe: Troupe
    _limited: Troupe | None
    _shared: Sharing | None = None

    def __init__(self, order: RunOrder, runtime: Runtime, calls: trio.Nursery) -> None:
        self._order = order
        self._runtime = runtime
        self._calls = calls
        self._settings = order.place.settings

    async def start_store(self) -> None:
        """Start the store with the writer, and the actor that calls the observers.

        Raises:
            BulkRefused: a file cannot or should not be used, the route is not available, or the
                budget is spent.
        """
        order, runtime = self._order, self._runtime
        observers: Ref[ReportRows] | None = None
        if order.observers:
            make = partial(ObserverActor, list(order.observers))
            observers = await runtime.spawn("observers", make)
        with naming_how_to_join(self._settings.shared, order.place.output):
            store = await runtime.spawn(
                "store", partial(StoreActor, order.place, observers), capacity=_KEEPS
            )
        self._store = store
        info = await store.ask(GetRunInfo())
        self._bound = cost_bound(order.troupe)
        self._info = info
        self._lane = info.lane
        self._account = info.account.priced(self._bound.usd_of_tokens)
        journal = RunJournal(Paths(order.place.output).batches, info.owner)
        self._plan = plan_run(order.troupe, self._settings, self._account, journal, info.lane)
        has_batches = self._plan.troupe.batches is not None
        if has_batches or self._settings.pay_again:
            await store.ask(NoteBatches(in_batches=has_batches))

    async def start_troupe(self, shared: AsyncExitStack) -> None:
        """Start the troupe, and for a shared run become its holder and one of its workers.

        Args:
            shared: keeps what a shared run needs until its last row has ended.

        Raises:
            BulkRefused: another process writes OUTPUT, or the server cannot be used.
        """
        order, settings, plan = self._order, self._settings, self._plan
        if settings.shared is not None:
            opened = open_sharing(
                settings.shared,
                settings,
                plan,
                order.place.output,
                self._info.owner.name,
                bound=self._bound,
            )
            self._shared = await shared.enter_async_context(opened)
            plan = self._plan = self._shared.plan
        holder = None if self._shared is None else self._shared.holder
        in_flight = order.troupe.limits.in_flight
        self._state = state = Dispatch(
            self._account,
            ahead=plan.ahead(in_flight),
            in_flight=in_flight,
            is_recovered=plan.is_recovered,
            max_cost=settings.max_cost,
            deadline_s=settings.deadline_s,
            bound=self._bound,
            retry_on=settings.retry_on,
            holder=holder,
            wall_clock=order.wall_clock,
        )
        cast = attrs.evolve(
            plan.troupe,
            observer=(StageObserver(state.observe, OBSERVED), plan.troupe.observer),
            ledger=_noting(plan.troupe.ledger, order.place.unwritten),
        )
        self._troupe = self._limited = await cast_troupe(self._runtime, cast)
        if self._shared is not None:
            self._limited = await self._shared.start_worker(
                shared, self._runtime, state, order.in_thread
            )

    async def start_dispatcher(self) -> None:
        """Start what sends rows to the troupe."""
        order, plan, settings, runtime = self._order, self._plan, self._settings, self._runtime
        limits, written = order.troupe.limits, order.place.written
        state, troupe = self._state, self._troupe
        holder = None if self._shared is None else self._shared.holder
        seen = SeenLimits()
        limits_reader = await runtime.spawn(
            "limits", partial(LimitsActor, self._limited, seen), capacity=1, overflow="drop_newest"
        )
        make = partial(
            DispatcherActor,
            state,
            written,
            troupe,
            self._store,
            self._calls,
            window_bytes=settings.window_bytes,
            prepare=plan.prepare,
            lane=self._lane,
            holder=holder,
        )
        self._dispatcher = dispatcher = await runtime.spawn("dispatcher", make)
        self.run = BulkRun(
            state,
            written,
            seen,
            troupe=troupe,
            dispatcher=dispatcher,
            limits_reader=limits_reader,
            ahead=plan.ahead,
            max_in_flight=max(limits.in_flight, order.troupe.max_in_flight or 0),
            total=settings.total,
            remark=plan.remark,
            misfits=plan.misfits,
            shared=None if holder is None else holder.counts,
            shared_name="" if self._shared is None else self._shared.name,
        )
        if holder is not None:
            holder.fail = self._lost

    async def start_reader(self) -> None:
        """Start the reader."""
        order = self._order
        make = partial(ReaderActor, order.rows, self._store, self._dispatcher, order.in_thread)
        # A read may take hours, so a stop does not wait for it.
        self._reader = await self._runtime.spawn("reader", make, restart="temporary", stop_s=0)

    async def end(self) -> RunEnding | None:
        """Stop the reader when no more is to be read, wait for the calls, and finish the files.

        Returns:
            Why the run has ended before its input, or OUTPUT is not what it should be; None if
            neither is so.
        """
        state, settings = self._state, self._settings
        async with open_collapsing_nursery() as nursery:
            nursery.start_soon(self._ask, WaitOver())  # from the start, so that no crash is missed
            nursery.start_soon(self._end_on_crash, self._reader)
            await self._ask(WaitClosed())
            await self._runtime.stop(self._reader)
        ending = state.final_ending
        if state.unacknowledged:
            with trio.move_on_after(_ACKNOWLEDGE_S), suppress(AskFailed):
                await self._troupe.acknowledge(tuple(state.unacknowledged))
        if settings.route == "pack" and self._shared is None:
            with suppress(AskFailed):
                self.run.packing = await self._troupe.batching_statistics()
        has_failed = bool(self._order.place.written.counts.failed)
        is_whole = state.is_done and ending is None and not has_failed
        finish = FinishRun(is_done=state.is_done, removes_store=is_whole and not settings.keep)
        try:
            ending = await self._store.ask(finish) or ending
        except AskFailed as error:
            return crash_ending(self._store.path, error.__cause__ or error)
        if self._shared is not None:
            await self._shared.finish(is_done=state.is_done)
        return ending

    def _lost(self, ending: RunEnding) -> None:
        """End the run, because this process does not hold OUTPUT on the server any more."""
        with suppress(AskFailed):
            self._dispatcher.tell_nowait(EndRun(ending))

    async def _ask(self, message: WaitClosed | WaitOver) -> None:
        """Ask the dispatcher; if it crashes, end the run and ask its next incarnation."""
        while True:
            try:
                return await self._dispatcher.ask(message)
            except ActorCrashed as error:
                ending = crash_ending(self._dispatcher.path, error.__cause__)
                await self._dispatcher.tell(EndRun(ending))

    async def _end_on_crash(self, actor: AnyRef) -> None:
        """End the run if an actor crashes that is not restarted."""
        ended = await actor.wait_stopped()
        if ended.reason == "crashed":
            await self._dispatcher.tell(EndRun(crash_ending(actor.path, ended.error)))


def _noting(ledger: LedgerPolicy | None, unwritten: list[UnwrittenCosts]) -> LedgerPolicy | None:
    """Return the settings of a ledger that notes what it cannot write."""
    return None if ledger is None else attrs.evolve(ledger, on_unwritten=unwritten.append)
