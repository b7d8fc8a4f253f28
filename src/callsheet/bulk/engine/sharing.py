"""Divide a shared run between its holder, which writes OUTPUT, and its workers."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import final

import attrs

from ...actors import (
    CallStage,
    CostBound,
    InThread,
    Limits,
    Routing,
    StageObserver,
    Troupe,
    TroupeSettings,
    insert,
)
from ...runtime import Runtime
from ..settings import BulkSettings
from ..shared.card import encode_card
from ..shared.holder import RunHolder
from ..shared.holder_stage import SharedRunActor
from ..shared.reserved import ReservedAttempts
from ..shared.sharing import SharedRun, open_holder, run_name
from ..shared.worker_actor import spawn_worker, worker_name
from ..shared.worker_end import WorkerPolicy
from .dispatch import Dispatch
from .routing import RunPlan

_RETRYING: frozenset[CallStage] = frozenset({"retrying"})


@final
@attrs.frozen(kw_only=True)
class Sharing:
    """The holder of a shared run, and how its workers make calls.

    Args:
        shared: where the run is shared.
        name: the name of the run.
        holder: gives rows to the queue.
        plan: how the holder gives them to it.
        worker: the settings of the troupe of a worker.
        ahead: the most rows that a worker has and that are not sent; None for few.
    """

    shared: SharedRun
    name: str
    holder: RunHolder
    plan: RunPlan
    worker: TroupeSettings
    ahead: int | None

    async def start_worker(
        self, stack: AsyncExitStack, runtime: Runtime, state: Dispatch, in_thread: InThread
    ) -> Troupe | None:
        """Work on the run in this process, too; return the troupe that makes the calls.

        Args:
            stack: stops the worker in the end.
            runtime: the runtime of the run.
            state: learns of calls that are tried again.
            in_thread: runs blocking disk access.
        """
        if not self.shared.works:
            return None
        settings = attrs.evolve(
            self.worker,
            observer=(StageObserver(state.health_noted, _RETRYING), self.worker.observer),
        )
        worker = await spawn_worker(
            runtime,
            self.holder.queue,
            settings,
            name=worker_name(),
            policy=WorkerPolicy(ahead=self.ahead, waits=True),
            in_thread=in_thread,
            prefix="own-",
        )
        stack.callback(worker.stop)
        return worker.troupe

    async def finish(self, *, is_done: bool) -> None:
        """Let go of OUTPUT.

        Args:
            is_done: whether every row of the input has ended.
        """
        pending = self.holder.pending
        if is_done and (left := pending.early):
            responses = "1 response" if left == 1 else f"{left:,} responses"
            self.shared.told(
                f"{responses} on the server, which an earlier run has paid for, belong to rows "
                "that INPUT does not have any more, and are dropped."
            )
        await self.holder.finish(forget=is_done or pending.is_clean)


@asynccontextmanager
async def open_sharing(
    shared: SharedRun,
    settings: BulkSettings,
    plan: RunPlan,
    output: Path,
    owner: str,
    *,
    bound: CostBound,
) -> AsyncGenerator[Sharing]:
    """Become the holder of a shared run, for the length of a block.

    Args:
        shared: where the run is shared.
        settings: the settings of the run.
        plan: how a run of one process would send its rows.
        output: the path of OUTPUT.
        owner: the name of the run in its store.
        bound: bounds what one attempt of a request can cost.

    Raises:
        BulkRefused: another process writes OUTPUT, or the server cannot be used.
    """
    name = run_name(output, owner)
    has_budget = plan.troupe.ledger is not None and bool(plan.troupe.ledger.budgets)
    worker = _worker_of(plan.troupe, shared, has_budget=has_budget)
    # Packs are made of rows that wait at a worker.
    ahead = plan.ahead(worker.limits.in_flight) if settings.route == "pack" else None
    card = encode_card(worker, ahead=ahead, has_budget=has_budget)
    own = None if settings.max_cost is None else bound
    async with open_holder(shared, name, card, has_budget=has_budget, bound=own) as holder:
        yield Sharing(
            shared=shared,
            name=name,
            holder=holder,
            plan=_holder_of(plan, settings, holder),
            worker=worker,
            ahead=ahead,
        )


def _holder_of(plan: RunPlan, settings: BulkSettings, holder: RunHolder) -> RunPlan:
    """Return how the holder gives rows to the queue.

    Its calls pass the cache and the ledger. Limits, lists, packs and prompt caches are of workers.
    """
    window = settings.window_rows
    budgets = () if plan.troupe.ledger is None else plan.troupe.ledger.budgets
    own = int(settings.max_cost is not None)
    ledger = plan.troupe.ledger
    if ledger is not None and own and holder.inherited is not None:
        *others, limit = ledger.budgets  # the run's own is the last one
        limit = attrs.evolve(limit, aside=holder.inherited.aside)
        ledger = attrs.evolve(ledger, budgets=(*others, limit))
    stage = insert(partial(SharedRunActor, holder=holder), instead_of="limiter", name="queue")
    troupe = attrs.evolve(
        plan.troupe,
        ledger=ledger,
        limits=Limits(in_flight=window),
        member_limits={},
        max_in_flight=None,
        max_waiting_calls=max(window, plan.troupe.max_waiting_calls),
        packing=None,
        strategies=(),
        prompt_caching="off",
        stages=(*plan.troupe.stages, stage),
        inspect=None,
        metrics=None,
        # What is only in this process needs no server; budgets of the user's own are shared.
        shared=plan.troupe.shared if len(budgets) > own or plan.troupe.cache else None,
    )
    # What is in the queue survives the death of this process.
    return attrs.evolve(plan, troupe=troupe, ahead=_always(window), is_recovered=True)


def _worker_of(troupe: TroupeSettings, shared: SharedRun, *, has_budget: bool) -> TroupeSettings:
    """Return the settings of the troupe with which a worker makes calls."""
    return attrs.evolve(
        troupe,
        batches=None,
        cache=None,
        ledger=None,
        routing=Routing(flex=False, batch=False),
        routes=(),
        stages=(insert(ReservedAttempts, before="limiter"),) if has_budget else (),
        shared=shared.stores or troupe.shared,
    )


def _always(count: int) -> Callable[[int], int]:
    """Return how many rows are dispatched: as many, however many calls are in flight."""
    return lambda _in_flight: count
