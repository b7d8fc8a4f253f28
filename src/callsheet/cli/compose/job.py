"""Run `callsheet compose`: open provider, display and troupe, write the posts, and report."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console

from ...actors import (
    BreakerPolicy,
    CallEvent,
    Limits,
    Observer,
    Post,
    PriceBook,
    PromptCaching,
    Recipe,
    StepFailed,
    StorageError,
    Timeouts,
    Troupe,
    TroupeSettings,
    UnwrittenCosts,
    log_call,
    open_troupe,
    why_not_written,
)
from ...config import Config
from ...costs.report import ledger_words
from ...display import open_display
from ...endpoints import EndpointChoice, open_endpoint
from ...runtime import AskFailed, AskTimedOut, RestartIntensityExceeded, open_collapsing_nursery
from ...trace import write_trace
from ...trace.timeline import CallTotals, Timeline
from ...wording import dollars, printable, seconds
from .. import INTERRUPTED
from ..configuration import ledger_from, with_config
from ..options import unwritten_remark
from ..signals import open_signals
from .output import PostOutput
from .reach import ConnectionWatch

_REFUSED = 2

_BREAKER = BreakerPolicy(max_pause_s=5.0)
"""A person waits, so a server that does not respond is reported within one minute, not seven."""


@attrs.frozen
class FailedPost:
    """A post that has failed, as `--json` writes it in the place of the post.

    Args:
        topic: the topic of the post.
        error: why there is no post.
    """

    topic: str
    error: str


@attrs.frozen
class TopicJob:
    """One topic, and the id of its post, which its calls carry."""

    topic: str
    post: str


@attrs.define
class Composition:
    """The options of one run, and its state.

    Args:
        jobs: the topics, in the order in which their posts are written.
        recipe: the steps of a post.
        prices: the prices of the models.
        config: what the settings file and the variables say.
        limits: the rates at which calls are sent.
        timeouts: the bounds on one send.
        prompt_caching: how far calls use the provider's prompt cache.
        deadline_s: seconds for each post; infinity for no deadline.
        choice: the provider that the options and the environment name.
        output: where the posts are written.
        as_json: whether posts are written as JSON objects instead of Markdown.
        ledger: the file of the ledger; None for none.
        trace: the file for the timeline of every call; None for none.
        is_verbose: whether every call is logged.
        console: where the display is drawn.
        timeline: the events of every call so far.
        ended: by post id, the post, or the error that ended it.
        troubles: by post id, the error of the latest attempt that failed.
        written: the number of jobs whose posts are written, from the first job on.
        interrupted: whether a signal stopped the run.
        crash: the error that no supervisor handled.
        refused: the reason why the run did not start.
        unwritten: the error of the output; no further post is written.
        unwritten_costs: what could not be written to the ledger.
        scope: contains the run. It is cancelled by a signal and by an error of the output.
        calls: contains the calls. It is cancelled if the provider cannot be reached.
    """

    jobs: tuple[TopicJob, ...]
    recipe: Recipe
    prices: PriceBook
    config: Config
    limits: Limits
    timeouts: Timeouts
    prompt_caching: PromptCaching
    deadline_s: float
    choice: EndpointChoice
    output: PostOutput
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
    unwritten: OSError | None = None
    unwritten_costs: list[UnwrittenCosts] = attrs.field(factory=list[UnwrittenCosts])
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    calls: trio.CancelScope = attrs.field(factory=trio.CancelScope)


async def compose_all(run: Composition) -> None:
    """Write all posts of a run concurrently, until they are written or a signal stops the run."""
    async with open_signals(partial(_stop, run)):
        with run.scope:
            try:
                await _with_provider(run)
            except RestartIntensityExceeded as error:
                run.crash = str(error)
            except StorageError as error:  # of the ledger
                run.refused = ledger_words(error)


def _stop(run: Composition) -> None:
    run.interrupted = True
    run.scope.cancel()


async def _with_provider(run: Composition) -> None:
    posts = {job.post: job.topic for job in run.jobs}
    steps = [step.name for step in run.recipe.steps]
    async with open_endpoint(run.choice) as endpoint:
        click.echo(run.choice.describe(endpoint), err=True)
        async with open_display(run.console, posts, steps) as show:
            reach = ConnectionWatch(partial(_give_up, run))
            observers: list[Observer] = [run.timeline.observe, show, partial(_note_trouble, run)]
            observers.append(reach.observe)
            if run.is_verbose:
                observers.append(log_call)
            settings = TroupeSettings(
                endpoint=endpoint,
                limits=run.limits,
                timeouts=run.timeouts,
                prompt_caching=run.prompt_caching,
                breaker=_BREAKER,
                recipe=run.recipe,
                prices=run.prices,
                ledger=ledger_from(run.config, run.ledger, run.unwritten_costs.append),
                observer=observers,
            )
            settings = with_config(run.config, settings, run.choice)
            async with open_troupe(settings) as troupe, open_collapsing_nursery() as nursery:
                nursery.start_soon(reach.run)
                with run.calls:
                    async with trio.open_nursery() as calls:
                        for job in run.jobs:
                            calls.start_soon(_compose_one, run, troupe, job)
                nursery.cancel_scope.cancel()


def _give_up(run: Composition, error: str) -> None:
    """End every post that is not written yet, because the provider was never reached."""
    for job in run.jobs:
        run.ended.setdefault(job.post, error)
    run.calls.cancel()


def _note_trouble(run: Composition, event: CallEvent) -> None:
    if event.stage == "retrying" and event.context.post is not None and event.error is not None:
        run.troubles[event.context.post] = event.error


async def _compose_one(run: Composition, troupe: Troupe, job: TopicJob) -> None:
    try:
        run.ended[job.post] = await troupe.compose(job.topic, timeout=run.deadline_s, post=job.post)
    except StepFailed as error:
        run.ended[job.post] = str(error)
    except AskTimedOut:
        text = f"the deadline of {run.deadline_s:g} s has passed (--deadline)"
        trouble = run.troubles.get(job.post)
        run.ended[job.post] = (
            text if trouble is None else f"{text}; the latest attempt failed: {trouble}"
        )
    except AskFailed as error:
        run.ended[job.post] = str(error)
    _write_ended(run)


def _write_ended(run: Composition) -> None:
    """Write the posts that are ready, in the order of the topics; later if a live tree is drawn."""
    if run.output.is_screen and run.console.is_terminal:
        return
    while run.written < len(run.jobs) and run.jobs[run.written].post in run.ended:
        write_post(run, run.jobs[run.written])
        run.written += 1


def write_post(run: Composition, job: TopicJob) -> None:
    """Write a post that has ended, unless an earlier one could not be written."""
    if run.unwritten is not None:
        return
    try:
        _write(run, job)
    except OSError as error:
        run.unwritten = error
        run.scope.cancel()


def _write(run: Composition, job: TopicJob) -> None:
    """Write a post that has ended. A post that failed is written as JSON only."""
    ended = run.ended[job.post]
    if run.as_json:
        line: Mapping[str, object] = (
            ended.to_json()
            if isinstance(ended, Post)
            else attrs.asdict(FailedPost(job.topic, printable(ended)))
        )
        run.output.write(job.topic, json.dumps(line, ensure_ascii=False) + "\n")
    elif isinstance(ended, Post):
        run.output.write(job.topic, ended.markdown)


def report(run: Composition) -> int:
    """Write the posts that an interrupt left unwritten, the trace, the errors and the summary.

    Returns:
        The exit status: 0; 1 if a post is missing; 2 if the run did not start; 130 if it was
        interrupted.

    Raises:
        OSError: stdout cannot be written.
    """
    for job in run.jobs[run.written :]:
        if job.post in run.ended:
            write_post(run, job)
    run.output.close()
    posts = {post: ended for post, ended in run.ended.items() if isinstance(ended, Post)}
    status = 0 if len(posts) == len(run.jobs) and run.crash is None else 1
    if run.refused is not None:
        _print(f"Error: {run.refused}")
        status = status if posts else _REFUSED
    if run.unwritten is not None and run.output.path is not None:
        _print(f"Error: --output: cannot write {run.output.path}: {why_not_written(run.unwritten)}")
        status = 1
    for job in run.jobs:
        ended = run.ended.get(job.post)
        if isinstance(ended, str):
            _print(f"Error: {job.topic}: {ended}")
    if not _wrote_trace(run, posts):
        status = 1
    for line in _summary(run, posts):
        _print(line)
    for costs in run.unwritten_costs:
        _print(unwritten_remark(costs))
        status = status if costs.kept_in is not None else max(status, 1)
    if run.crash is not None:
        _print(f"Error: {run.crash}. This is a bug in Callsheet; --verbose shows the traceback.")
    if run.interrupted:
        _print(f"Interrupted: {len(posts)} of {_count(len(run.jobs), 'post')} finished.")
        status = INTERRUPTED
    if run.unwritten is not None and run.output.path is None:
        raise run.unwritten
    return status


def _print(text: str) -> None:
    click.echo(printable(text), err=True)


def _wrote_trace(run: Composition, posts: dict[str, Post]) -> bool:
    if run.trace is None:
        return True
    critical = {
        post: tuple(f"{post}/{call}" for call in ended.stats.critical_path)
        for post, ended in posts.items()
    }
    try:
        write_trace(
            run.trace,
            run.timeline,
            titles={job.post: job.topic for job in run.jobs},
            critical=critical,
        )
    except OSError as error:
        _print(f"Error: --trace: cannot write {run.trace}: {why_not_written(error)}")
        return False
    return True


def _summary(run: Composition, posts: dict[str, Post]) -> list[str]:
    """Sum up all calls, those of failed posts included, because they are paid for as well."""
    totals = CallTotals.of(run.timeline.calls, run.timeline.ended_at)
    if not totals.output_tokens and not totals.unknown_costs:
        return []
    retries = f" ({_count(totals.retries, 'retry', 'retries')})" if totals.retries else ""
    if totals.cost_usd is None:
        price = "cost unknown"
        if totals.known_usd:
            count = _count(totals.unknown_costs, "call")
            price = f"{dollars(totals.known_usd)}, and {count} of unknown cost"
        if run.prices.price(run.recipe.model) is None:
            price += f": no price for {run.recipe.model} (add one with --prices)"
    elif run.choice.endpoint is None:
        price = f"{dollars(totals.cost_usd)} at OpenAI's prices (the built-in provider is free)"
    else:
        price = f"{dollars(totals.cost_usd)} (prices as of {run.prices.as_of})"
    cached = f" ({totals.cached_tokens:,} from the cache)" if totals.cached_tokens else ""
    took = (
        f"{_count(totals.calls, 'call')}, {_count(totals.http_requests, 'HTTP request')}{retries}, "
        f"{totals.input_tokens:,} tokens in{cached}, {totals.output_tokens:,} out; {price}"
    )
    lines = [took]
    if posts:
        slowest = max((post.stats for post in posts.values()), key=lambda it: it.critical_path_s)
        wall_s = run.timeline.ended_at - run.timeline.started_at
        lines.append(
            f"{seconds(wall_s)}; sequentially: {seconds(totals.sequential_s)}; critical path: "
            f"{seconds(slowest.critical_path_s)} ({', '.join(slowest.critical_path)})"
        )
    return lines


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
