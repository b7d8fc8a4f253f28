"""`callsheet work`: work on a run that another process has shared on a server."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import final

import attrs
import click
import trio

from ..actors import (
    ServerAway,
    ServerUrl,
    StorageError,
    TroupeSettings,
    ValkeyClient,
    log_call,
    open_valkey,
    stores_at,
)
from ..bulk.shared.card import rows_ahead, worker_settings
from ..bulk.shared.journal import WorkerJournal, default_journals
from ..bulk.shared.local_workers import WORKS_ON
from ..bulk.shared.queue import RunCard
from ..bulk.shared.valkey import ValkeyQueue, runs_at
from ..bulk.shared.worker import RunWorker
from ..bulk.shared.worker_actor import spawn_worker, worker_name
from ..bulk.shared.worker_end import WorkerEnd, WorkerPolicy
from ..collecting import rare_collections
from ..config import SHARED_URL_VARIABLE, ConfigError, read_variables
from ..interrupts import INTERRUPTED
from ..runtime import RestartIntensityExceeded, open_collapsing_nursery, open_runtime
from ..wording import dollars, printable
from .options import set_up_logging, verbose_option
from .sections import SectionedCommand, option
from .signals import STOP_SIGNALS, open_signals, run_until_signal

_REFUSED = 2
_FAILED = 1
_LOOK_S = 1.0
_TELL_S = 10.0
_WAIT_S = 2.0  # between two looks for a run
_DRAIN_S = 15.0  # for the actors, after the worker has ended


class WorkRefused(Exception):
    """The worker does not start; the text has the reason and the remedy.

    Attributes:
        status: the exit status: another one where the same command may work later.
    """

    def __init__(self, reason: str, error: Exception | None = None) -> None:
        super().__init__(reason)
        self.status = _FAILED if isinstance(error, ServerAway) else _REFUSED


@attrs.frozen(kw_only=True)
class WorkOrder:
    """The options of the command.

    Args:
        url: where the server is.
        shared: the same as it was given, with its password.
        run: the name of the run; None for the one that is open.
        policy: how the worker works.
        journals: the folder of the journals.
        waits: whether it waits until there is such a run.
        ends_with_stdin: whether it drains when stdin ends, as a worker of another process does.
        is_verbose: whether every call is logged.
    """

    url: ServerUrl
    shared: str = attrs.field(repr=False)
    run: str | None
    policy: WorkerPolicy
    journals: Path
    waits: bool
    ends_with_stdin: bool
    is_verbose: bool


@click.command(
    cls=SectionedCommand,
    short_help="Send rows of a run that another process shares.",
    page="docs/scale.md",
    examples=(
        "work valkey://queue.internal:6379",
        "work valkey://queue.internal:6379 responses-1f2e3d4c --max-concurrency 50",
    ),
    epilog="The run names the provider, its limits and the model; the key of the provider comes "
    "from the environment, as for callsheet run. Exit status: 0 when the run has ended, 130 after "
    "Ctrl-C or SIGTERM, 2 if there is no such run or the settings are wrong, and 1 otherwise.",
)
@click.argument("url", metavar="[URL]", required=False)
@click.argument("run", metavar="[RUN]", required=False)
@option(
    "--max-concurrency",
    section="Limits",
    metavar="N",
    type=click.IntRange(1),
    help="The maximum number of calls of this worker in flight. Default: that of the run, which "
    "all of its workers share.",
)
@option(
    "--wait",
    "waits",
    is_flag=True,
    help="Wait for a run, for its rows, and for the server, instead of ending without them.",
)
@option(
    "--journal",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for responses that are not in OUTPUT yet; it should outlive this process. "
    "Default: a folder in your folder for state.",
)
@option(
    "--env-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file of variables, such as .env: keys of providers, for example. A variable of the "
    "environment overrides it.",
)
@option("--until-stdin-ends", "ends_with_stdin", is_flag=True, hidden=True)
@verbose_option
def work(
    *,
    url: str | None,
    run: str | None,
    max_concurrency: int | None,
    waits: bool,
    journal: Path | None,
    env_file: Path | None,
    ends_with_stdin: bool,
    verbose: bool,
) -> None:
    """Send rows of the run RUN, which callsheet run --shared URL has put on the server URL.

    Default for URL: $CALLSHEET_SHARED_URL, which hides a password from other users. Default for
    RUN: the only run that is open there.

    Any number of workers may join, leave and die at any time. All of them together keep the limits
    of the run. A worker writes each response to its disk before it hands it in.

    Ctrl-C and SIGTERM give back the rows that were not sent, and wait for the others; a second
    signal stops at once.
    """
    set_up_logging(is_verbose=verbose)
    try:
        if env_file is not None:
            os.environ.update(read_variables(env_file, os.environ))
        url, run = _where(url, run)
        where = ServerUrl.parse(url)
    except (ValueError, ConfigError) as error:
        raise click.UsageError(printable(str(error))) from None
    order = WorkOrder(
        url=where,
        shared=url,
        run=run,
        policy=WorkerPolicy(max_concurrency=max_concurrency, waits=waits),
        journals=journal or default_journals(),
        waits=waits,
        ends_with_stdin=ends_with_stdin,
        is_verbose=verbose,
    )
    status, problem = _FAILED, ""
    try:
        status = trio.run(_work, order)
    except WorkRefused as error:
        status, problem = error.status, str(error)
    except RestartIntensityExceeded as error:
        problem = f"{error}. This is a bug in Callsheet; --verbose shows the traceback."
    if problem:
        _say(f"Error: {problem}")
    sys.exit(status)


def _where(url: str | None, run: str | None) -> tuple[str, str | None]:
    """Return URL and RUN, of which the first may be left out.

    Raises:
        ValueError: neither the command line nor the environment names a server.
    """
    if url is not None and "://" in url:
        return url, run
    named = os.environ.get(SHARED_URL_VARIABLE, "").strip()
    if not named or run is not None:
        raise ValueError(
            "the URL of the server is missing: callsheet work URL [RUN], with a URL such as "
            f"valkey://host:6379, or {SHARED_URL_VARIABLE} in the environment"
        )
    return named, url


async def _work(order: WorkOrder) -> int:
    """Find the run, work on it, and return the exit status.

    Raises:
        WorkRefused: there is none, or it cannot be worked on.
    """
    card = await run_until_signal(partial(_found, order))
    if card is None:
        return INTERRUPTED
    if card.state == "ended":
        _say(f"The run {printable(card.name)} has ended.")
        return 0
    try:
        settings = worker_settings(card.settings, os.environ)
        ahead = rows_ahead(card.settings)
    except ValueError as error:
        raise WorkRefused(str(error)) from None
    settings = attrs.evolve(
        settings,
        shared=stores_at(order.shared),
        observer=log_call if order.is_verbose else settings.observer,
    )
    policy = attrs.evolve(order.policy, ahead=ahead)
    try:
        journal = await trio.to_thread.run_sync(WorkerJournal, order.journals, card.name)
    except StorageError as error:
        reason, remedy = error.reason, error.remedy_by("give another folder (--journal DIR)")
        raise WorkRefused(f"{error.name} cannot be used: {reason}; {remedy}") from None
    return await _work_with(order, card.name, settings, policy, journal)


async def _work_with(
    order: WorkOrder,
    run: str,
    settings: TroupeSettings,
    policy: WorkerPolicy,
    journal: WorkerJournal,
) -> int:
    """Work on a run, and return the exit status.

    Raises:
        WorkRefused: the server, or the environment, cannot be used.
    """
    close: Callable[[], None] = partial(journal.close, remove=False)
    queue = ValkeyQueue(order.url, run)
    try:
        async with queue.open(), open_runtime("work", drain_s=_DRAIN_S) as runtime:
            worker = await spawn_worker(
                runtime, queue, settings, name=worker_name(), policy=policy, journal=journal
            )
            close = worker.close_journal
            _say(f"{WORKS_ON}{run} at {order.url} as {worker.name}.")
            with rare_collections():
                ending = await _Watch(order, worker).until_over()
    except (StorageError, ValueError) as error:  # ValueError: a proxy of the environment
        raise WorkRefused(str(error), error) from None
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(close)
    return _report(worker, ending, journal)


# -------------------------------------------------------------------------------------- the run


async def _found(order: WorkOrder) -> RunCard:
    """Return the run to work on; wait for it if that is wanted.

    Raises:
        WorkRefused: there is none, or there are several, or the server cannot be used.
    """
    try:
        async with open_valkey(order.url) as client:
            return await _found_at(client, order)
    except StorageError as error:  # the extra is not installed, for example
        raise WorkRefused(str(error), error) from None


async def _found_at(client: ValkeyClient, order: WorkOrder) -> RunCard:
    """Do the same as `_found` with a client of the server.

    Raises:
        StorageError: the server cannot be used.
        WorkRefused: there is no run, or there are several.
    """
    is_told = False
    while True:
        try:
            await client.check(keeps=True)
            names = [order.run] if order.run else await runs_at(client)
            cards = [card for name in names if (card := await _card(order.url, name))]
            reason = _why_none(order, cards)
        except ServerAway as error:
            if not order.waits:
                raise
            reason = str(error)
        else:
            if not reason:
                return cards[0] if order.run else _open_ones(cards)[0]
            if not order.waits or len(_open_ones(cards)) > 1:
                raise WorkRefused(reason)
        if not is_told:
            is_told = True
            _say(f"Waiting for a run: {printable(reason)}")
        await trio.sleep(_WAIT_S)


async def _card(url: ServerUrl, name: str) -> RunCard | None:
    queue = ValkeyQueue(url, name)
    async with queue.open():
        return await queue.card()


def _open_ones(cards: list[RunCard]) -> list[RunCard]:
    return [card for card in cards if card.state != "ended"]


def _why_none(order: WorkOrder, cards: list[RunCard]) -> str:
    """Return why no run can be chosen; "" if one can."""
    if order.run is not None:
        if not cards:
            return f"there is no run {order.run} on {order.url}; check its name and the URL"
        is_over = cards[0].state == "ended" and order.waits
        return f"the run {order.run} on {order.url} has ended" if is_over else ""
    found = _open_ones(cards)
    if not found:
        waiting = "" if order.waits else ", or wait for one with --wait"
        return (
            f"no run is open on {order.url}; start one with callsheet run INPUT OUTPUT --shared "
            f"URL{waiting}"
        )
    if len(found) > 1:
        listed = "".join(f"\n{card.name}: {_words(card)}" for card in found)
        return f"{len(found)} runs are open on {order.url}; name one of them:{listed}"
    return ""


def _words(card: RunCard) -> str:
    holder = f"written by {card.holder}" if card.holder else "without a holder"
    rows = "1 row waits" if card.waiting == 1 else f"{card.waiting:,} rows wait"
    workers = "1 worker" if len(card.workers) == 1 else f"{len(card.workers):,} workers"
    return f"{card.state}, {rows}, {workers}, {holder}"


# -------------------------------------------------------------------------------------- progress


@final
class _Watch:
    """Waits for the end of a worker, acts on signals, and prints how it goes on."""

    def __init__(self, order: WorkOrder, worker: RunWorker) -> None:
        self._order = order
        self._worker = worker
        self._is_draining = False

    async def until_over(self) -> WorkerEnd:
        """Return why the worker has ended."""
        async with open_collapsing_nursery() as nursery:
            nursery.start_soon(self._print_progress)
            if self._order.ends_with_stdin:
                nursery.start_soon(self._drain_with_stdin)
            async with open_signals(self._stop, stops=STOP_SIGNALS):
                ending = await self._worker.wait_over()
            nursery.cancel_scope.cancel()
        return ending

    def _stop(self) -> None:
        if self._is_draining:
            self._worker.stop()
            return
        self._is_draining = True
        self._worker.drain()
        in_flight = self._worker.in_flight
        if in_flight:
            calls = "1 call" if in_flight == 1 else f"{in_flight:,} calls"
            _say(f"Waiting for {calls} in flight. Press Ctrl-C again to stop now.")
        else:
            _say("Stopping. No call is in flight.")

    async def _drain_with_stdin(self) -> None:
        await trio.lowlevel.wait_readable(0)
        self._is_draining = True
        self._worker.drain("the process that started it has ended")

    async def _print_progress(self) -> None:
        worker = self._worker
        was_away, said, said_at = False, "", trio.current_time()
        while True:
            await trio.sleep(_LOOK_S)
            if worker.is_away != was_away:
                was_away = worker.is_away
                _say(
                    f"{self._order.url} does not answer. Calls in flight go on; their responses "
                    "are delivered later."
                    if was_away
                    else f"{self._order.url} answers again."
                )
            if trio.current_time() - said_at >= _TELL_S:
                said_at = trio.current_time()
                if (text := _progress(worker)) != said:
                    said = text
                    _say(text)


def _progress(worker: RunWorker) -> str:
    report = worker.report
    text = f"{report.answered:,} rows answered, {worker.in_flight:,} in flight"
    if report.failed:
        text += f", {report.failed:,} failed"
    return f"{text}, {dollars(report.cost_usd)}" if report.cost_usd else text


def _report(worker: RunWorker, ending: WorkerEnd, journal: WorkerJournal) -> int:
    """Print what the worker has done, and return the exit status."""
    report = worker.report
    text = f"{report.answered:,} rows answered, {report.failed:,} failed"
    if report.cost_usd:
        text += f", {dollars(report.cost_usd)}"
    _say(f"{text}.")
    if worker.unstored and journal.path.exists():
        _say(
            f"{worker.unstored:,} answers may not be in OUTPUT yet. They are in {journal.path}; "
            "the next worker of this run with the same --journal hands them in."
        )
    match ending.kind:
        case "ended":
            _say("The run has ended.")
            return 0
        case "drained" if not ending.text:
            return INTERRUPTED
        case "drained":
            _say(f"Stopped: {printable(ending.text)}.")
            return _FAILED
        case _:
            _say(f"Error: {printable(ending.text)}")
            return _FAILED


def _say(text: str) -> None:
    for line in text.splitlines():
        click.echo(printable(line), err=True)
