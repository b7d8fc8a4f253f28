"""One run of `callsheet compose`: provider, display and troupe around the topics."""

import json
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console

from ..actors import (
    BreakerPolicy,
    CallEvent,
    LedgerPolicy,
    LedgerUnusable,
    Limits,
    Observer,
    Post,
    PriceBook,
    Recipe,
    StepFailed,
    Troupe,
    TroupeSettings,
    log_call,
    open_troupe,
)
from ..display import open_display
from ..endpoints import Choice, open_endpoint
from ..runtime import AskFailed, AskTimedOut, RestartIntensityExceeded
from ..trace.timeline import Timeline
from ..wording import printable
from .output import Output

__all__ = ["Composition", "Job", "compose_all", "write_post"]

_BREAKER = BreakerPolicy(max_pause_s=5.0)
"""Somebody waits: a server that is not there is told of within a minute, not seven."""


@attrs.frozen
class Job:
    """One topic, and the id that its calls carry."""

    topic: str
    post: str


@attrs.define
class Composition:
    """What one command is to do, and how far it has come.

    Args:
        jobs: the topics, in the order in which their posts are written.
        recipe: what a post is made of.
        prices: what models cost.
        limits: how fast calls may go.
        deadline_s: seconds for each post; infinity for no deadline.
        choice: the provider.
        output: where the posts go.
        as_json: as JSON objects rather than as Markdown.
        ledger: the file of the books; None for none.
        trace: a file for the timeline of every call.
        is_verbose: log every call.
        console: where the display goes.
        timeline: every call so far.
        ended: by post id, the post, or why there is none.
        troubles: by post id, what the last attempt that failed has failed with.
        written: how many of the jobs were written, from the first on.
        interrupted: a signal has stopped it.
        crash: what no supervisor could handle.
        refused: why nothing was begun.
    """

    jobs: tuple[Job, ...]
    recipe: Recipe
    prices: PriceBook
    limits: Limits
    deadline_s: float
    choice: Choice
    output: Output
    as_json: bool
    ledger: Path | None
    trace: Path | None
    is_verbose: bool
    console: Console
    timeline: Timeline = attrs.field(factory=Timeline)
    ended: dict[str, Post | str] = attrs.field(factory=dict[str, Post | str])  # {post id: or error}
    troubles: dict[str, str] = attrs.field(factory=dict[str, str])
    written: int = 0
    interrupted: bool = False
    crash: str | None = None
    refused: str | None = None


async def compose_all(run: Composition) -> None:
    """Write every post of a run, side by side, until they are written or a signal stops it."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(_stop_on_signal, run, scope)
            try:
                await _with_provider(run)
            except RestartIntensityExceeded as error:
                run.crash = str(error)
            except LedgerUnusable as error:
                run.refused = f"--ledger: {error}"
            nursery.cancel_scope.cancel()


async def _stop_on_signal(
    run: Composition, scope: trio.CancelScope, task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            run.interrupted = True
            scope.cancel()


async def _with_provider(run: Composition) -> None:
    posts = {job.post: job.topic for job in run.jobs}
    steps = [step.name for step in run.recipe.steps]
    async with open_endpoint(run.choice) as endpoint:
        click.echo(run.choice.describe(endpoint), err=True)
        async with open_display(run.console, posts, steps) as show:
            observers: list[Observer] = [run.timeline.observe, show, partial(_note_trouble, run)]
            if run.is_verbose:
                observers.append(log_call)
            settings = TroupeSettings(
                endpoint=endpoint,
                limits=run.limits,
                breaker=_BREAKER,
                recipe=run.recipe,
                prices=run.prices,
                ledger=None if run.ledger is None else LedgerPolicy(path=run.ledger),
                observer=_all_of(observers),
            )
            async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:
                for job in run.jobs:
                    nursery.start_soon(_compose_one, run, troupe, job)


def _note_trouble(run: Composition, event: CallEvent) -> None:
    if event.stage == "retrying" and event.origin.post is not None and event.error is not None:
        run.troubles[event.origin.post] = event.error


def _all_of(observers: list[Observer]) -> Observer:
    def observe(event: CallEvent) -> None:
        for observer in observers:
            observer(event)

    return observe


async def _compose_one(run: Composition, troupe: Troupe, job: Job) -> None:
    try:
        run.ended[job.post] = await troupe.compose(job.topic, timeout=run.deadline_s, post=job.post)
    except StepFailed as error:
        run.ended[job.post] = str(error)
    except AskTimedOut:
        text = f"the deadline of {run.deadline_s:g} s has passed (--deadline)"
        trouble = run.troubles.get(job.post)
        run.ended[job.post] = text if trouble is None else f"{text}; before that, {trouble}"
    except AskFailed as error:
        run.ended[job.post] = str(error)
    _write_ended(run)


def _write_ended(run: Composition) -> None:
    """Write what is ready, in the order of the topics; not into a live tree on the screen."""
    if run.output.is_screen and run.console.is_terminal:
        return
    while run.written < len(run.jobs) and run.jobs[run.written].post in run.ended:
        write_post(run, run.jobs[run.written])
        run.written += 1


def write_post(run: Composition, job: Job) -> None:
    """Write a post that has ended; one that failed is an object with an error, or nothing."""
    ended = run.ended[job.post]
    if run.as_json:
        answer: Mapping[str, object] = (
            ended.to_json()
            if isinstance(ended, Post)
            else {"topic": job.topic, "error": printable(ended)}
        )
        run.output.write(job.topic, json.dumps(answer, ensure_ascii=False) + "\n")
    elif isinstance(ended, Post):
        run.output.write(job.topic, ended.markdown)
