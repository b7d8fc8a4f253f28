"""`callsheet compose`: a blog post for each topic."""

import sys
from math import inf
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console
from trio_util import TaskStats

from ...actors import Limits, Recipe, RecipeError, default_recipe, load_recipe
from ...endpoints import EndpointChoice
from ...trace import trace_format
from ..options import (
    chosen_endpoint,
    chosen_ledger,
    chosen_prices,
    ledger_option,
    prices_option,
    provider_options,
    set_up_logging,
    usual_model,
)
from .job import Composition, TopicJob, compose_all, report
from .output import open_output

__all__ = [
    "compose",
]


@click.command()
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@provider_options
@click.option("--model", metavar="M", help="Instead of the recipe's, or the provider's usual, one.")
@click.option(
    "--recipe",
    "recipe_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="A TOML or JSON file of steps and prompts, instead of the built-in recipe.",
)
@prices_option
@click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Seconds for each post, waiting and retries included.",
)
@click.option(
    "--output",
    metavar="PATH",
    help="Write to this file, or to a file for each topic in this folder (PATH/), not to stdout.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object for each topic, a line each."
)
@click.option(
    "--trace",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a timeline of every call: .json for Perfetto, .html for one page.",
)
@ledger_option
@click.option("--verbose", "-v", is_flag=True, help="Log every call, and how the tasks ran.")
def compose(
    *,
    topics: tuple[str, ...],
    provider: str | None,
    base_url: str | None,
    rpm: float | None,
    tpm: float | None,
    max_concurrency: int,
    model: str | None,
    recipe_file: str | None,
    price_file: str | None,
    deadline: float | None,
    output: str | None,
    as_json: bool,
    trace: Path | None,
    ledger: Path | None,
    verbose: bool,
) -> None:
    """Write a blog post about each TOPIC.

    The post goes to stdout as Markdown. Several topics are written side by side; one that fails
    does not stop the others.
    """
    for number, topic in enumerate(topics, 1):
        if not topic.strip():
            raise click.UsageError(f"topic {number} is empty; say what the post is about")
    set_up_logging(is_verbose=verbose)
    choice = chosen_endpoint(base_url, provider)
    run = Composition(
        jobs=_jobs(topics),
        recipe=_recipe(recipe_file, model, choice),
        prices=chosen_prices(price_file),
        limits=Limits(rpm=rpm, tpm=tpm, in_flight=max_concurrency),
        deadline_s=inf if deadline is None else deadline,
        choice=choice,
        ledger=chosen_ledger(ledger, choice),
        trace=_checked_trace(trace),
        output=open_output(
            output,
            suffix=".json" if as_json else ".md",
            separator="" if as_json else "\n",
        ),
        as_json=as_json,
        is_verbose=verbose,
        console=Console(stderr=True, highlight=False),
    )
    trio.run(compose_all, run, instruments=[TaskStats()] if verbose else [])
    sys.exit(report(run))


def _jobs(topics: tuple[str, ...]) -> tuple[TopicJob, ...]:
    """An id for each topic: the topic itself, numbered where it is there twice."""
    jobs: list[TopicJob] = []
    for topic in topics:
        # What is not UTF-8 comes from a shell as letters that nothing can be written with.
        topic = topic.strip().encode(errors="replace").decode()  # noqa: PLW2901
        again = sum(job.topic == topic for job in jobs)
        jobs.append(TopicJob(topic, f"{topic} ({again + 1})" if again else topic))
    return tuple(jobs)


def _recipe(file: str | None, model: str | None, choice: EndpointChoice) -> Recipe:
    try:
        recipe = default_recipe() if file is None else load_recipe(file)
    except RecipeError as error:
        raise click.UsageError(str(error)) from None
    if model is None and file is None:
        model = usual_model(choice)
    return recipe if model is None else attrs.evolve(recipe, model=model)


def _checked_trace(path: Path | None) -> Path | None:
    """The path, if it can be written later on: nobody should learn that after the spending."""
    if path is None:
        return None
    try:
        trace_format(path)
    except ValueError as error:
        raise click.UsageError(f"--trace: {error}") from None
    if not path.resolve().parent.is_dir():
        raise click.UsageError(f"--trace: there is no folder {path.parent}")
    return path
