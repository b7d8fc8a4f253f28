"""What is left to say when a run of `callsheet compose` is over."""

import click

from ..actors import Post
from ..trace import write_trace
from ..trace.timeline import Totals
from ..wording import dollars, printable, seconds
from .composition import Composition, write_post

__all__ = ["report"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def report(run: Composition) -> int:
    """Write what an interruption left unwritten, the trace and the summary.

    Returns:
        The exit status: 0, 1 if any post is missing, 130 if the run was interrupted.
    """
    for job in run.jobs[run.written :]:
        if job.post in run.ended:
            write_post(run, job)
    run.output.close()
    posts = {post: ended for post, ended in run.ended.items() if isinstance(ended, Post)}
    status = 0 if len(posts) == len(run.jobs) and run.crash is None else 1
    if run.refused is not None:
        _say(f"Error: {run.refused}")
    for job in run.jobs:
        ended = run.ended.get(job.post)
        if isinstance(ended, str):
            _say(f"Error: {job.topic}: {ended}")
    if not _wrote_trace(run, posts):
        status = 1
    for line in _summary(run, posts):
        _say(line)
    if run.crash is not None:
        _say(f"Error: {run.crash}. This is a bug; --verbose shows where.")
    if run.interrupted:
        _say(f"Interrupted: {len(posts)} of {_count(len(run.jobs), 'post')} finished.")
        status = _INTERRUPTED
    return status


def _say(text: str) -> None:
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
        _say(f"Error: --trace: cannot write {run.trace}: {error.strerror}")
        return False
    return True


def _summary(run: Composition, posts: dict[str, Post]) -> list[str]:
    """What the calls took, those of posts that failed included: they are paid for as well."""
    totals = Totals.of(run.timeline.calls, run.timeline.ended_at)
    if not totals.output_tokens:
        return []
    retries = f" ({_count(totals.retries, 'retry', 'retries')})" if totals.retries else ""
    if totals.cost_usd is None:
        price = f"cost unknown: no price for {run.recipe.model} (--prices FILE adds one)"
    elif run.choice.endpoint is None:
        price = f"{dollars(totals.cost_usd)} at OpenAI's prices, free here"
    else:
        price = f"{dollars(totals.cost_usd)} (prices of {run.prices.as_of})"
    took = (
        f"{_count(totals.calls, 'call')}, {_count(totals.http_requests, 'HTTP request')}{retries}, "
        f"{totals.input_tokens:,} tokens in, {totals.output_tokens:,} out; {price}"
    )
    lines = [took]
    if posts:
        slowest = max((post.stats for post in posts.values()), key=lambda it: it.critical_path_s)
        wall_s = run.timeline.ended_at - run.timeline.started_at
        lines.append(
            f"{seconds(wall_s)}; one by one: {seconds(totals.sequential_s)}; critical path: "
            f"{seconds(slowest.critical_path_s)} ({', '.join(slowest.critical_path)})"
        )
    return lines


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
