"""The actor that runs a worker of a shared run, and the start of a worker with its troupe."""

import secrets
from functools import partial
from typing import final

import attrs

from ...actors import InThread, Troupe, TroupeSettings, cast_troupe, in_worker_thread
from ...runtime import Actor, Message, Runtime, handles
from .journal import WorkerJournal
from .queue import WorkQueue
from .reports import WorkerReport
from .worker import RunWorker
from .worker_end import WorkerPolicy


@attrs.frozen
class DrainWorker(Message[None]):
    """Let a worker end after the calls in flight.

    Args:
        why: the reason for the user; "" if that asked for it.
    """

    why: str = ""


@final
class WorkerActor(Actor[DrainWorker]):
    """Runs a worker. After a crash the next incarnation goes on with what is in hand.

    Args:
        worker: the rows and answers, which outlive an incarnation.
        troupe: sends the rows.
    """

    def __init__(self, worker: RunWorker, troupe: Troupe) -> None:
        self._worker = worker
        self._troupe = troupe

    async def started(self) -> None:
        """Start to work."""
        self.nursery.start_soon(self._worker.run, self._troupe, self.random)

    @handles(DrainWorker, urgent=True)
    async def drain(self, message: DrainWorker) -> None:
        """Take no more rows."""
        self._worker.drain(message.why)

    async def draining(self) -> None:
        """Let the calls in flight end."""
        self._worker.drain()
        await self._worker.wait_over()

    async def stopped(self) -> None:
        """Take no errors of actors that are stopped for answers."""
        self._worker.stop()


def worker_name() -> str:
    """Return a name for a worker of this process, which no other one has, or has had."""
    report = WorkerReport.of_this_process()
    return f"{report.host}:{report.pid}:{secrets.token_hex(4)}"


async def spawn_worker(
    runtime: Runtime,
    queue: WorkQueue,
    settings: TroupeSettings,
    *,
    name: str,
    policy: WorkerPolicy | None = None,
    journal: WorkerJournal | None = None,
    in_thread: InThread = in_worker_thread,
    prefix: str = "",
) -> RunWorker:
    """Start a worker with its troupe in an open runtime.

    Args:
        runtime: the runtime that the actors run in.
        queue: the queue of the run, which is open.
        settings: the settings of the troupe that sends the rows.
        name: a name that no other worker of the run has; see `worker_name`.
        policy: how it works.
        journal: the journal for answers; None for a worker in the process of the holder.
        in_thread: runs blocking disk access.
        prefix: a prefix of the actors' names, if the runtime has another troupe.

    Raises:
        ValueError: see `cast_troupe`.
    """
    worker = RunWorker(
        queue,
        name,
        in_flight=settings.limits.in_flight,
        policy=policy,
        journal=journal,
        in_thread=in_thread,
    )
    observed = attrs.evolve(settings, observer=(worker.observer, settings.observer))
    troupe = await cast_troupe(runtime, observed, prefix=prefix)
    await runtime.spawn(f"{prefix}worker", partial(WorkerActor, worker, troupe))
    return worker
