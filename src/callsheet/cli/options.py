"""The options that say which provider a command talks to, how fast it may, and what that costs.

What commands have in common: provider, prices, books and log, as the options say.
"""

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import TextIO, TypeVar

import click
import structlog

from ..actors import VENDORS, PriceBook, PriceError, default_prices, redact_secrets
from ..costs.report import LEDGER_VARIABLE, default_ledger
from ..endpoints import BUILTIN, EndpointChoice, choose_endpoint

__all__ = [
    "chosen_endpoint",
    "chosen_ledger",
    "chosen_prices",
    "ledger_option",
    "prices_option",
    "provider_options",
    "set_up_logging",
    "usual_model",
]


F = TypeVar("F", bound=Callable[..., object])


def provider_options(command: F) -> F:
    """Add `--provider`, `--base-url`, `--rpm`, `--tpm` and `--max-concurrency`."""
    for option in (
        click.option(
            "--max-concurrency",
            type=click.IntRange(1),
            default=100,
            show_default=True,
            help="Calls in flight at a time.",
        ),
        click.option("--tpm", type=click.FloatRange(0, min_open=True), help="Tokens a minute."),
        click.option("--rpm", type=click.FloatRange(0, min_open=True), help="Requests a minute."),
        click.option(
            "--base-url",
            metavar="URL",
            help="Where the API is, such as http://127.0.0.1:8080/v1. Else OPENAI_BASE_URL "
            "and OPENAI_API_KEY; else the built-in provider.",
        ),
        click.option(
            "--provider",
            type=click.Choice([BUILTIN, *VENDORS]),
            help="Whose API it is. Its key and address come from variables of its own, such as "
            "ANTHROPIC_API_KEY; its models have names of their own, too: see --model.",
        ),
    ):
        command = option(command)
    return command


prices_option = click.option(
    "--prices",
    "price_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="A JSON file of prices in USD per million tokens, on top of the built-in ones.",
)

ledger_option = click.option(
    "--ledger",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the books of what calls cost here, for callsheet costs; by default "
    f"${LEDGER_VARIABLE}, or else the user's own for a provider that is paid.",
)


def chosen_endpoint(base_url: str | None, provider: str | None) -> EndpointChoice:
    """The provider.

    Raises:
        click.UsageError: it is not said well.
    """
    try:
        return choose_endpoint(base_url, provider=provider)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def usual_model(choice: EndpointChoice) -> str | None:
    """What to ask a provider for that may not know the built-in recipe's model.

    Raises:
        click.UsageError: it has no usual one.
    """
    if choice.endpoint is None or choice.endpoint.vendor.name == "compatible":
        return None
    vendor = choice.endpoint.vendor
    if vendor.model is None:
        raise click.UsageError(
            f"{vendor.title} has no model that is the same for all; give --model"
        )
    return vendor.model


def chosen_prices(file: str | None) -> PriceBook:
    """What models cost.

    Raises:
        click.UsageError: the file cannot be read.
    """
    try:
        return default_prices() if file is None else PriceBook.load(file, default_prices())
    except PriceError as error:
        raise click.UsageError(str(error)) from None


def chosen_ledger(path: Path | None, choice: EndpointChoice) -> Path | None:
    """Where the books are kept; nowhere for the built-in provider, unless somebody says where."""
    if path is None and (choice.endpoint is not None or LEDGER_VARIABLE in os.environ):
        return default_ledger()
    return path


def set_up_logging(*, is_verbose: bool, file: TextIO | None = None) -> None:
    """Log crashes always, every call and the task statistics if asked for.

    Args:
        is_verbose: whether they are.
        file: where to; by default stderr.
    """
    file = sys.stderr if file is None else file
    level = logging.INFO if is_verbose else logging.ERROR
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file),
        processors=[
            structlog.processors.add_log_level,
            *([] if is_verbose else [_without_traceback]),
            redact_secrets,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
    )
    if is_verbose:
        logging.basicConfig(stream=file, level=logging.INFO, format="%(message)s")
        for chatty in ("httpx", "httpcore"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


def _without_traceback(
    _: object, __: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """A crash on one line; `--verbose` shows where it was."""
    event.pop("exception", None)
    return event
