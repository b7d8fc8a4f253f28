"""The options that say which provider a command talks to, how fast it may, and what that costs."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from ..actors import VENDORS
from ..costs.place import LEDGER_VARIABLE

__all__ = ["ledger_option", "prices_option", "provider_options"]

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
            type=click.Choice(list(VENDORS)),
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
