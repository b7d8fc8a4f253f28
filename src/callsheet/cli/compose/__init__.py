"""`callsheet compose`: write a blog post for each topic."""

import sys
from math import inf
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console
from trio_util import TaskStats

from ...actors import PromptCaching, Recipe, RecipeError, default_recipe, load_recipe
from ...endpoints import EndpointChoice
from ...trace import trace_format
from ..configuration import (
    ConfiguredCommand,
    config_options,
    configured,
    limits_from,
    shared_option,
    timeouts_from,
)
from ..files import check_extra_files
from ..options import (
    chosen_endpoint,
    chosen_ledger,
    chosen_prices,
    default_model,
    ledger_option,
    limit_options,
    prices_option,
    prompt_caching_option,
    provider_options,
    set_up_logging,
    timeout_option,
    verbose_option,
)
from ..parameters import ABOVE_ZERO, Name
from ..sections import option
from .job import Composition, TopicJob, compose_all, report
from .output import open_output

__all__ = ["compose"]


@click.command(
    cls=ConfiguredCommand,
    short_help="Write a blog post about each topic.",
    page="docs/recipes.md",
    examples=(
        'compose "Why backpressure matters" --provider builtin',
        'compose "Tea" "Coffee" --provider openai --output posts/',
    ),
)
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@provider_options
@option(
    "--model",
    section="Provider",
    metavar="MODEL",
    type=Name(),
    help="The model. Default: the provider's default model, or the model of the recipe.",
)
@option(
    "--recipe",
    "recipe_file",
    section="Post",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="A TOML or JSON file of steps and prompts. Default: the built-in recipe.",
)
@option(
    "--max-tokens",
    section="Post",
    metavar="N",
    type=click.IntRange(min=1),
    help="The maximum number of tokens of each response. Default: the limit of each step in the "
    "recipe; with another model than the built-in recipe's, its largest limit.",
)
@option(
    "--output",
    section="Post",
    metavar="PATH",
    help="A file for all posts; or a folder (PATH/) for one file per post. Default: stdout.",
)
@option(
    "--json",
    "as_json",
    section="Post",
    is_flag=True,
    help="Write one JSON object per topic and line, instead of Markdown.",
)
@limit_options
@shared_option
@timeout_option
@option(
    "--deadline",
    section="Limits",
    type=ABOVE_ZERO,
    metavar="SECONDS",
    help="The maximum time for each post, waiting and retries included.",
)
@prompt_caching_option
@prices_option
@ledger_option
@option(
    "--trace",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a timeline of every call: .json for Perfetto, .html for a page.",
)
@config_options
@verbose_option
def compose(
    *,
    topics: tuple[str, ...],
    provider: str | None,
    base_url: str | None,
    rpm: float | None,
    tpm: float | None,
    max_concurrency: int,
    timeout: float,
    model: str | None,
    recipe_file: str | None,
    max_tokens: int | None,
    price_file: str | None,
    prompt_caching: PromptCaching,
    deadline: float | None,
    output: str | None,
    as_json: bool,
    trace: Path | None,
    ledger: Path | None,
    verbose: bool,
) -> None:
    """Write a blog post about each TOPIC. The built-in recipe makes 11 LLM calls per post.

    The post is written to stdout as Markdown. Posts about several topics are written concurrently.
    A post that fails does not stop the others, and makes the exit status 1.
    """
    for number, topic in enumerate(topics, 1):
        if not topic.strip():
            raise click.UsageError(f"topic {number} is empty")
    set_up_logging(is_verbose=verbose)
    config = configured()
    choice = chosen_endpoint(base_url, provider)
    ledger_file = chosen_ledger(ledger, choice)
    taken = {"--output": _file_of(output), "--recipe": recipe_file, "--prices": price_file}
    check_extra_files(
        {"--trace": trace},
        {name: None if path is None else Path(path) for name, path in taken.items()},
        ledger_file,
    )
    run = Composition(
        jobs=_jobs(topics),
        recipe=_recipe(recipe_file, model, max_tokens, choice),
        prices=chosen_prices(price_file, choice),
        config=config,
        limits=limits_from(config, rpm=rpm, tpm=tpm, in_flight=max_concurrency),
        timeouts=timeouts_from(config, timeout),
        prompt_caching=prompt_caching,
        deadline_s=inf if deadline is None else deadline,
        choice=choice,
        ledger=ledger_file,
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
    """Give each topic an id: the topic itself, with a number if it is a duplicate."""
    jobs: list[TopicJob] = []
    for topic in topics:
        # A shell passes bytes that are not UTF-8 as surrogates, which cannot be written.
        topic = topic.strip().encode(errors="replace").decode()  # noqa: PLW2901
        again = sum(job.topic == topic for job in jobs)
        jobs.append(TopicJob(topic, f"{topic} ({again + 1})" if again else topic))
    return tuple(jobs)


def _recipe(
    file: str | None, model: str | None, max_tokens: int | None, choice: EndpointChoice
) -> Recipe:
    try:
        recipe = default_recipe() if file is None else load_recipe(file)
    except RecipeError as error:
        raise click.UsageError(str(error)) from None
    if model is None and file is None:
        model = default_model(choice)
    if max_tokens is None and file is None and model not in (None, recipe.model):
        max_tokens = recipe.max_tokens  # a model that reasons needs more tokens than the text has
    if max_tokens is not None:
        recipe = recipe.with_max_tokens(max_tokens)
    return recipe if model is None else attrs.evolve(recipe, model=model)


def _file_of(output: str | None) -> str | None:
    """Return the file of the posts; None for stdout and for a folder."""
    is_folder = output is not None and (output.endswith(("/", "\\")) or Path(output).is_dir())
    return None if is_folder else output


def _checked_trace(path: Path | None) -> Path | None:
    """Check that the file can be written, before any call is paid for."""
    if path is None:
        return None
    try:
        trace_format(path)
    except ValueError as error:
        raise click.UsageError(f"--trace: {error}") from None
    return path
