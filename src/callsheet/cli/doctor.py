"""`callsheet doctor`: examine the installation and its environment, and name what to do."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..actors import (
    CachePolicy,
    LedgerPolicy,
    PriceError,
    ServerUrl,
    ValkeyStores,
)
from ..bulk.shared.journal import default_journals
from ..config import Config, ConfigError, read_config
from ..costs.price_table import current_prices, remark_on_age
from ..costs.report import LEDGER_VARIABLE, default_ledger
from ..doctor import (
    DoctorReport,
    Finding,
    FindingState,
    WrittenPlace,
    examine_environment,
    examine_installation,
    examine_places,
    examine_provider,
    examine_server,
)
from ..endpoints import EndpointChoice
from ..gateway.file import read_gateway, read_key_settings
from ..gateway.keys import SHARED_KEYS, default_key_store
from ..interrupts import INTERRUPTED
from ..wording import printable
from .configuration import ConfiguredCommand, config_options, shared_option_for, shared_stores
from .options import chosen_endpoint, provider_options
from .parameters import ABOVE_ZERO
from .sections import option
from .signals import run_until_signal

_PROBLEM = 1
_CONFIG_ERROR = "callsheet.doctor.config"
_PROVIDER = "Provider"
_STYLES: dict[FindingState, str] = {"ok": "green", "note": "yellow", "problem": "bold red"}
_WORDS: dict[FindingState, str] = {"ok": "ok", "absent": "-", "note": "note", "problem": "problem"}
_clock: Callable[[], float] = time.time


class ExaminedCommand(ConfiguredCommand):
    """A command that reports a settings file which cannot be used, and goes on without it."""

    def _config(self, ctx: click.Context, args: list[str]) -> Config:
        try:
            return super()._config(ctx, args)
        except click.UsageError as error:
            given, _, _ = self.make_parser(ctx).parse_args(list(args))
            with suppress(ConfigError):  # a gateway has all of its endpoints, and chooses none
                config = read_config(given.get("config"), with_endpoint=False)
                if _is_of_gateway(config):
                    return config
            ctx.meta[_CONFIG_ERROR] = error.message
            return Config()


def _is_of_gateway(config: Config) -> bool:
    """Return whether a file has endpoints that a gateway serves."""
    serves = "gateway" in config.members and bool(config.endpoints.tables)
    return serves or "models" in config.members


@attrs.frozen
class Examination:
    """What is examined with requests.

    Args:
        choices: the provider that calls would use, or those of a gateway; none if it cannot be
            chosen.
        has_default_model: whether calls without a model take the default one of the provider.
        server: the server that processes share; None for none.
        sends: whether requests are sent.
        timeout_s: the longest time for the response of the provider, in seconds.
    """

    choices: Sequence[EndpointChoice]
    has_default_model: bool
    server: ServerUrl | None
    sends: bool
    timeout_s: float


@click.command(
    cls=ExaminedCommand,
    short_help="Check the installation, keys, provider, disk and shared server.",
    page="docs/command-line.md",
    examples=("doctor", "doctor --provider anthropic", "doctor --shared valkey://host:6379 --json"),
    epilog="Exit status: 0 if nothing is wrong, 1 if there is a problem, 2 for wrong usage.",
)
@provider_options
@shared_option_for(
    "The Valkey or Redis server to examine, such as valkey://host:6379. Default: that of the "
    "settings file or of the environment, if there is one."
)
@option(
    "--timeout",
    section="Limits",
    type=ABOVE_ZERO,
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="The maximum time for the response of the provider.",
)
@option(
    "--offline", section="Limits", is_flag=True, help="Send nothing to the provider or the server."
)
@option("--json", "as_json", section="Output", is_flag=True, help="Write JSON instead of a table.")
@config_options
def doctor(
    *,
    base_url: str | None,
    provider: str | None,
    timeout: float,
    offline: bool,
    as_json: bool,
) -> None:
    """Check what calls depend on, and say what to do about each problem.

    It shows versions, the variables for keys (never their values), which provider calls would use
    and why, proxies, certificates, the disk, and the server that processes share. One request, for
    the list of models, shows whether the provider answers and accepts the key. It costs nothing.
    With the settings file of a gateway, each of its endpoints is examined.
    """
    config: Config = click.get_current_context().meta["callsheet.config"]
    found = [*examine_installation(), *_prices(), *examine_environment(os.environ)]
    is_given = base_url is not None or provider is not None
    of_gateway = not is_given and _is_of_gateway(config)
    choices: Sequence[EndpointChoice] = ()
    try:
        choices = _of_gateway(config) if of_gateway else (chosen_endpoint(base_url, provider),)
    except click.UsageError as error:
        found.append(_not_chosen(printable(error.message)))
    stores = shared_stores(config)
    server = stores.url if isinstance(stores, ValkeyStores) else None
    examination = Examination(choices, not of_gateway, server, not offline, timeout)
    asked = trio.run(run_until_signal, partial(_examined, examination))
    if asked is None:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    found += [*_settings(config), *asked, *examine_places(_places(config))]
    found.sort(key=lambda one: _SECTIONS.index(one.section))
    problems = sum(one.state == "problem" for one in found)
    if as_json:
        click.echo(_json(found))
    else:
        _print(found)
    sys.exit(_PROBLEM if problems else 0)


_SECTIONS = ("Installation", "Settings", "Keys", _PROVIDER, "Shared server", "Disk")


def _of_gateway(config: Config) -> Sequence[EndpointChoice]:
    """Return the endpoints that the gateway of a settings file serves."""
    try:
        troupes = read_gateway(config.source or None).troupes
    except ConfigError as error:
        click.get_current_context().meta[_CONFIG_ERROR] = str(error)
        return ()
    choices: list[EndpointChoice] = []
    for name, troupe in troupes.items():
        is_table = name in config.endpoints.tables  # the name of a vendor needs none
        where = f"endpoints.{name}" if is_table else "models"
        choices.append(EndpointChoice(troupe.endpoint, f"{config.source}: {where}"))
    return choices


def _not_chosen(message: str) -> Finding:
    """Return why no provider can be chosen: a message that names what to correct."""
    reason, _, remedy = message.rpartition("; ")
    if not reason:
        reason, remedy = message, f"correct or remove {message.partition(':')[0]}"
    return Finding(_PROVIDER, "chosen", "problem", reason, remedy)


def _prices() -> Iterator[Finding]:
    try:
        book = current_prices()
    except PriceError as error:
        yield Finding("Installation", "prices", "problem", printable(str(error)))
        return
    text = f"of {book.as_of}"
    if remark := remark_on_age(book):
        yield Finding("Installation", "prices", "note", text, printable(remark))
    else:
        yield Finding("Installation", "prices", "ok", text)


def _settings(config: Config) -> Iterator[Finding]:
    """Yield the settings file, and the variables that set something."""
    error: str | None = click.get_current_context().meta.get(_CONFIG_ERROR)
    if error is not None:
        remedy = "correct it; until then commands refuse to start"
        yield Finding("Settings", "file", "problem", printable(error), remedy)
        return
    if config.source:
        yield Finding("Settings", "file", "ok", printable(config.source))
    else:
        yield Finding("Settings", "file", "absent", "none (--config FILE)")
    if names := sorted(set(config.variables.values())):
        yield Finding("Settings", "variables", "ok", ", ".join(names))


def _places(config: Config) -> Iterator[WrittenPlace]:
    ledger = config.values.get("ledger")
    named = ledger.path if isinstance(ledger, LedgerPolicy) else None
    yield WrittenPlace("ledger", named or default_ledger(), f"{LEDGER_VARIABLE}=FILE")
    cache = config.values.get("cache")
    policy = cache if isinstance(cache, CachePolicy) else CachePolicy()
    if policy.path is not None:
        yield WrittenPlace("cache", policy.path, "[cache] path in the settings file")
    yield WrittenPlace("journals", default_journals(), "callsheet work --journal DIR")
    if (keys := _key_file(config)) is not None:
        yield WrittenPlace("gateway keys", keys, "--store FILE")
    yield WrittenPlace("this folder", Path.cwd())


def _key_file(config: Config) -> Path | None:
    """Return the file of the keys of a gateway; None if a shared server has them."""
    try:
        place = read_key_settings(config.source or None).place
    except ConfigError:  # among the settings
        place = None
    return None if place == SHARED_KEYS else Path(place or default_key_store())


async def _examined(examination: Examination) -> Sequence[Finding]:
    """Ask the provider and the server."""
    return [
        *[one for choice in examination.choices for one in await _of_provider(choice, examination)],
        *await examine_server(examination.server, sends=examination.sends),
    ]


async def _of_provider(choice: EndpointChoice, examination: Examination) -> list[Finding]:
    if choice.endpoint is None:
        text = f"builtin, because {choice.reason}{choice.hint}"
        return [
            Finding(_PROVIDER, "chosen", "ok", text),
            Finding(_PROVIDER, "reachable", "absent", "not asked: it runs in this process"),
        ]
    where = ", ".join(f"{one.vendor.title} at {one.shown_url}" for one in choice.endpoint.each)
    model = choice.endpoint.vendor.model
    usual = f"; default model {model}" if model else "; no default model: give --model"
    usual = usual if examination.has_default_model else ""
    text = printable(f"{where}, by {choice.reason or '--base-url'}{usual}")
    asked = await examine_provider(
        choice.endpoint,
        os.environ,
        sends=examination.sends,
        timeout_s=examination.timeout_s,
        clock=_clock,
    )
    return [Finding(_PROVIDER, "chosen", "ok", text), *asked]


def _json(found: Sequence[Finding]) -> str:
    report = DoctorReport(ok=all(one.state != "problem" for one in found), findings=found)
    return json.dumps(attrs.asdict(report), indent=2)


def _print(found: Sequence[Finding]) -> None:
    console = Console(highlight=False)
    width = max(len(one.name) for one in found)
    for section in _SECTIONS:
        rows = [one for one in found if one.section == section]
        if not rows:
            continue
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=len("problem"))
        table.add_column(width=width)
        table.add_column(overflow="fold")
        for one in rows:
            text = Text(one.text)
            if one.remedy:
                text.append(f"\n-> {one.remedy}", style="bold" if one.state == "problem" else "")
            state = Text(_WORDS[one.state], style=_STYLES.get(one.state, "dim"))
            table.add_row(state, Text(one.name), text)
        console.print(Text(section, style="bold"))
        console.print(table)
        console.print()
    console.print(_outcome(found))


def _outcome(found: Sequence[Finding]) -> str:
    counts = [
        (sum(one.state == state for one in found), word)
        for state, word in (("problem", "problem"), ("note", "note"))
    ]
    words = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count]
    return f"{', '.join(words)}." if words else "Nothing is wrong."
