"""`callsheet compose`: a blog post for each topic."""

import logging
import os
import sys
from collections.abc import MutableMapping
from math import inf
from pathlib import Path

import attrs
import click
import structlog
import trio
from rich.console import Console
from trio_util import TaskStats

from ..actors import (
    Limits,
    PriceBook,
    PriceError,
    Recipe,
    RecipeError,
    default_prices,
    default_recipe,
    load_recipe,
    redact_secrets,
)
from ..costs import LEDGER_VARIABLE, default_ledger
from ..endpoints import Choice, choose_endpoint
from ..trace import trace_format
from .composition import Composition, Job, compose_all
from .output import open_output
from .provider_options import provider_options
from .report import report

__all__ = ["compose"]


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
@click.option(
    "--prices",
    "price_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="A JSON file of prices in USD per million tokens, on top of the built-in ones.",
)
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
@click.option(
    "--ledger",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the books of what calls cost here, for callsheet costs; by default "
    f"${LEDGER_VARIABLE}, or else the user's own for a provider that is paid.",
)
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
    _set_up_logging(is_verbose=verbose)
    choice = _choice(base_url, provider)
    run = Composition(
        jobs=_jobs(topics),
        recipe=_recipe(recipe_file, model, choice),
        prices=_prices(price_file),
        limits=Limits(rpm=rpm, tpm=tpm, in_flight=max_concurrency),
        deadline_s=inf if deadline is None else deadline,
        choice=choice,
        ledger=_ledger(ledger, choice),
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


def _jobs(topics: tuple[str, ...]) -> tuple[Job, ...]:
    """An id for each topic: the topic itself, numbered where it is there twice."""
    jobs: list[Job] = []
    for topic in topics:
        # What is not UTF-8 comes from a shell as letters that nothing can be written with.
        topic = topic.strip().encode(errors="replace").decode()  # noqa: PLW2901
        again = sum(job.topic == topic for job in jobs)
        jobs.append(Job(topic, f"{topic} ({again + 1})" if again else topic))
    return tuple(jobs)


def _choice(base_url: str | None, provider: str | None) -> Choice:
    try:
        return choose_endpoint(base_url, provider=provider)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _recipe(file: str | None, model: str | None, choice: Choice) -> Recipe:
    try:
        recipe = default_recipe() if file is None else load_recipe(file)
    except RecipeError as error:
        raise click.UsageError(str(error)) from None
    if model is None and file is None:
        model = _usual_model(choice)
    return recipe if model is None else attrs.evolve(recipe, model=model)


def _usual_model(choice: Choice) -> str | None:
    """What to ask a provider for that may not know the built-in recipe's model."""
    if choice.endpoint is None or choice.endpoint.vendor.name == "compatible":
        return None
    vendor = choice.endpoint.vendor
    if vendor.model is None:
        raise click.UsageError(
            f"{vendor.title} has no model that is the same for all; give --model"
        )
    return vendor.model


def _prices(file: str | None) -> PriceBook:
    try:
        return default_prices() if file is None else PriceBook.load(file, default_prices())
    except PriceError as error:
        raise click.UsageError(str(error)) from None


def _ledger(path: Path | None, choice: Choice) -> Path | None:
    """Where the books are kept; nowhere for the built-in provider, unless somebody says where."""
    if path is None and (choice.endpoint is not None or LEDGER_VARIABLE in os.environ):
        return default_ledger()
    return path


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


def _set_up_logging(*, is_verbose: bool) -> None:
    """Log to stderr: crashes always, every call and the task statistics if asked for."""
    level = logging.INFO if is_verbose else logging.ERROR
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            *([] if is_verbose else [_without_traceback]),
            redact_secrets,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
    )
    if is_verbose:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
        for chatty in ("httpx", "httpcore"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


def _without_traceback(
    _: object, __: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """A crash on one line; `--verbose` shows where it was."""
    event.pop("exception", None)
    return event
