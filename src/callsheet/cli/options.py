"""The options that several commands share: provider, limits, prices, ledger and log."""

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import TextIO, TypeVar

import attrs
import click
import structlog

from ..actors import VENDORS, PriceBook, PriceError, Timeouts, UnwrittenCosts, redact_secrets
from ..costs.price_table import current_prices, remark_on_age, remark_on_no_table
from ..costs.report import LEDGER_VARIABLE, default_ledger
from ..endpoints import BUILTIN, EndpointChoice, ExtraHeaders, choose_endpoint
from ..wording import printable
from .parameters import ABOVE_ZERO, Header, SuggestingChoice
from .sections import option

F = TypeVar("F", bound=Callable[..., object])


def _all_of(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(command: F) -> F:
        for one in reversed(options):
            command = one(command)
        return command

    return add


def _header_option(name: str, *, help: str) -> Callable[[F], F]:  # noqa: A002  # click's
    """Return an option whose values `chosen_endpoint` reads from the context of the command."""

    def keep(ctx: click.Context, _: click.Parameter, value: tuple[tuple[str, str], ...]) -> None:
        ctx.meta[name] = dict(value)

    return option(
        name,
        section="Provider",
        metavar="NAME=VALUE",
        type=Header(),
        multiple=True,
        callback=keep,
        expose_value=False,
        help=help,
    )


provider_options: Callable[[Callable[..., object]], Callable[..., object]] = _all_of(
    option(
        "--provider",
        section="Provider",
        metavar="NAME",
        type=SuggestingChoice([BUILTIN, *VENDORS]),
        help=f'The provider: {", ".join((BUILTIN, *VENDORS))}. "{BUILTIN}" runs in this process '
        "and needs no key. The others take key and URL from their own variables, such as "
        "ANTHROPIC_API_KEY. Default: OPENAI_BASE_URL or OPENAI_API_KEY decides; without them, "
        f"{BUILTIN}.",
    ),
    option(
        "--base-url",
        section="Provider",
        metavar="URL",
        help="The URL of the API, version included, such as http://127.0.0.1:8080/v1.",
    ),
    _header_option(
        "--header",
        help="A further header of every request; may be repeated. It replaces a default header.",
    ),
    _header_option(
        "--secret-header", help="Like --header; the value is hidden in errors and logs."
    ),
)
"""Adds `--provider`, `--base-url`, `--header` and `--secret-header`."""

limit_options: Callable[[Callable[..., object]], Callable[..., object]] = _all_of(
    option(
        "--rpm",
        section="Limits",
        metavar="N",
        type=ABOVE_ZERO,
        help="The maximum number of requests per minute.",
    ),
    option(
        "--tpm",
        section="Limits",
        metavar="N",
        type=ABOVE_ZERO,
        help="The maximum number of tokens per minute.",
    ),
    option(
        "--max-concurrency",
        section="Limits",
        metavar="N",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        help="The maximum number of calls in flight.",
    ),
)
"""Adds `--rpm`, `--tpm` and `--max-concurrency`."""

timeout_option = option(
    "--timeout",
    section="Limits",
    type=ABOVE_ZERO,
    metavar="SECONDS",
    default=600.0,
    show_default=True,
    help="The maximum time of one request at the provider, waiting for limits excluded. After it "
    "the request is not sent again, because it may be billed.",
)

prompt_caching_option = option(
    "--prompt-caching",
    section="Cost",
    type=SuggestingChoice(["off", "order", "auto"]),
    default="order",
    show_default=True,
    help="How calls with the same beginning use the provider's prompt cache. order: the first one "
    "is sent, and the others follow at its first token. auto: also add marks and keys where a "
    "request has none.",
)

prices_option = option(
    "--prices",
    "price_file",
    section="Cost",
    metavar="FILE",
    type=click.Path(dir_okay=False, readable=False),
    help="A JSON file of prices in USD per million tokens. It adds to the published prices and "
    "overrides them.",
)

ledger_option = option(
    "--ledger",
    section="Cost",
    metavar="FILE",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    help="The file that records the cost of every call, for callsheet costs. Default: "
    f"${LEDGER_VARIABLE}, or a file in your data folder; with {BUILTIN}, none.",
)

verbose_option = option(
    "--verbose", "-v", is_flag=True, help="Log every call, and show tracebacks."
)


FILE_ENDPOINT = "callsheet.config.endpoint"
"""Under this name, the context of a command has the provider that its settings file chooses."""

HAS_NO_LEDGER = "callsheet.config.no_ledger"
"""Under this name, the context of a command has whether its settings file turns the ledger off."""


def chosen_endpoint(base_url: str | None, provider: str | None) -> EndpointChoice:
    """Choose the provider by the options, the settings file and the environment.

    Raises:
        click.UsageError: see `choose_endpoint`.
    """
    given = click.get_current_context().meta
    headers = ExtraHeaders(given["--header"], given["--secret-header"])
    of_file: EndpointChoice | None = given.get(FILE_ENDPOINT)
    if base_url is None and provider is None and of_file is not None and of_file.endpoint:
        return attrs.evolve(of_file, endpoint=headers.of(of_file.endpoint))
    try:
        return choose_endpoint(base_url, provider=provider, headers=headers)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def timeouts_of(seconds: float) -> Timeouts:
    """Return the bounds on one send; a model may think in silence for all of it."""
    return Timeouts(first_byte_s=seconds, send_s=seconds)


def default_model(choice: EndpointChoice) -> str | None:
    """Return the provider's default model; None where the recipe's model is known to work.

    Raises:
        click.UsageError: the provider has no default model.
    """
    if choice.endpoint is None or choice.endpoint.vendor.name == "compatible":
        return None
    vendor = choice.endpoint.vendor
    if vendor.model is None:
        raise click.UsageError(f"{vendor.title} has no default model; give --model")
    return vendor.model


def chosen_prices(file: str | None, choice: EndpointChoice) -> PriceBook:
    """Load the published prices, and those of a file over them, as they are at a provider.

    Remarks on stderr say that the published prices are old, or that their file is missing, unless
    the provider is built in.

    Args:
        file: the price file; None for no other prices.
        choice: decides which prices apply, and whether money is spent.

    Raises:
        click.UsageError: a table cannot be read.
    """
    try:
        published = current_prices()
    except PriceError as error:
        raise click.UsageError(str(error)) from None
    try:
        prices = published if file is None else PriceBook.load(file, published)
    except PriceError as error:
        raise click.UsageError(f"--prices: {error}") from None
    if choice.endpoint is None:
        return prices
    for remark in (remark_on_no_table(), remark_on_age(published)):
        if remark:
            click.echo(printable(remark), err=True)
    return prices.at_vendor(choice.endpoint.vendor.price_list)


def chosen_ledger(path: Path | None, choice: EndpointChoice) -> Path | None:
    """Return the file of the ledger; None for the built-in provider, unless a file is named.

    Without the option, a settings file may also turn the ledger off.
    """
    if path is None and click.get_current_context().meta.get(HAS_NO_LEDGER):
        return None
    if path is None and (
        choice.endpoint is not None or os.environ.get(LEDGER_VARIABLE, "").strip()
    ):
        return default_ledger()
    return path


def set_up_logging(
    *,
    is_verbose: bool,
    file: TextIO | None = None,
    usual: int = logging.ERROR,
    is_stamped: bool = False,
) -> None:
    """Log errors; with `--verbose` every call and Trio's task statistics as well.

    Args:
        is_verbose: whether `--verbose` is set.
        file: where the log is written; by default stderr.
        usual: the least level of what is logged without `--verbose`.
        is_stamped: whether each line begins with the time, as those of a service do.
    """
    file = sys.stderr if file is None else file
    level = logging.INFO if is_verbose else usual
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file),
        processors=[
            structlog.processors.add_log_level,
            *([] if is_verbose else [_without_traceback]),
            redact_secrets,
            *([structlog.processors.TimeStamper(fmt="iso")] if is_stamped else []),
            structlog.processors.KeyValueRenderer(
                key_order=["timestamp", "event"] if is_stamped else ["event"]
            ),
        ],
    )
    if is_stamped or is_verbose:
        handler = logging.StreamHandler(file)
        if is_stamped:  # a line of a library has the form of all others
            handler.setFormatter(_StampedFormatter(is_verbose=is_verbose))
        logging.basicConfig(handlers=[handler], level=level, format="%(message)s")
    if is_verbose:
        for chatty in ("httpx", "httpcore"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


class _StampedFormatter(logging.Formatter):
    """Writes a record of the standard library as structlog's lines: time, event, level.

    Args:
        is_verbose: whether a line has the traceback of its error, too.
    """

    _render = structlog.processors.KeyValueRenderer(key_order=["timestamp", "event"])
    _stamp = structlog.processors.TimeStamper(fmt="iso")

    def __init__(self, *, is_verbose: bool) -> None:
        super().__init__()
        self._is_verbose = is_verbose

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without what looks like a secret (L8)."""
        values: MutableMapping[str, object] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.exc_info and (error := record.exc_info[1]) is not None:
            values["error"] = f"{type(error).__name__}: {error}"
            if self._is_verbose:
                values["exception"] = self.formatException(record.exc_info)
        return str(self._render(None, "", self._stamp(None, "", redact_secrets(None, "", values))))


def _without_traceback(
    _: object, __: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Keep a crash on one line; `--verbose` shows its traceback."""
    event.pop("exception", None)
    return event


def unwritten_remark(costs: UnwrittenCosts) -> str:
    """Return a line on what could not be written to the ledger.

    Args:
        costs: what is missing in the ledger.
    """
    count = f"{costs.transactions:,} entr{'y' if costs.transactions == 1 else 'ies'}"
    text = f"{count} of the ledger {costs.ledger} could not be written ({costs.reason})"
    if costs.kept_in is None:
        return f"Error: {text}, and there was no room to keep them: their costs are lost."
    return f"Warning: {text}. They are kept in {costs.kept_in} and written by the next run."
