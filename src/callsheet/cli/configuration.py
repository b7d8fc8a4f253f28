"""Options with defaults in a settings file and in CALLSHEET_ variables (docs/settings.md)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click
from click.core import ParameterSource

from ..actors import LedgerPolicy, Limits, Timeouts, TroupeSettings, UnwrittenCosts
from ..config import (
    CONFIG_VARIABLE,
    SHARED_URL_VARIABLE,
    Config,
    ConfigError,
    read_config,
    read_variables,
)
from ..endpoints import EndpointChoice
from .options import FILE_ENDPOINT, HAS_NO_LEDGER, timeouts_of
from .sections import SectionedCommand, option

if TYPE_CHECKING:
    from ..actors import SharedStores

_Decorator = Callable[[Callable[..., object]], Callable[..., object]]

_CONFIG = "callsheet.config"
_SHARED = "callsheet.shared"  # under it, the context of a command has the stores of --shared
_COMMAND_LINE = ParameterSource.COMMANDLINE
_HELP = frozenset({"--help", "-h"})
_OF_OPTIONS = ("limits", "timeouts", "prompt_caching", "prices", "recipe", "ledger")


def config_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--config` and `--env-file` to a command, whose class is `ConfiguredCommand`."""
    for one in (
        option(
            "--env-file",
            metavar="FILE",
            type=click.Path(dir_okay=False, readable=False),
            expose_value=False,
            help="A file of variables, such as .env: keys of providers, for example. A variable of "
            "the environment overrides it.",
        ),
        option(
            "--config",
            metavar="FILE",
            type=click.Path(dir_okay=False, readable=False),
            expose_value=False,
            help="A TOML file of settings: endpoints, limits, retries, cache and so on. Variables "
            f"override it, and options override both. Default: ${CONFIG_VARIABLE}, or none.",
        ),
    ):
        command = one(command)
    return command


def check_shared_url(url: str) -> None:
    """Check the value of `--shared`.

    Args:
        url: the value, which may have a password.

    Raises:
        click.UsageError: it names no server; the text has no password (L8).
    """
    try:
        Config().shared.stores({}, url)
    except ValueError as error:
        raise click.UsageError(f"--shared: {error}") from None


def _keep_shared(ctx: click.Context, _: click.Parameter, url: str | None) -> None:
    """Keep the stores of `--shared`, which may have a password, so that nothing shows it (L8)."""
    if url is None:
        return
    try:
        config: Config = ctx.meta.get(_CONFIG) or Config()
        ctx.meta[_SHARED] = config.shared.stores(os.environ, url)
    except ValueError as error:
        raise click.UsageError(f"--shared: {error}", ctx) from None


def is_shared_by_option() -> bool:
    """Return whether `--shared` of the current command is given."""
    return click.get_current_context().meta.get(_SHARED) is not None


def shared_option_for(help: str) -> _Decorator:  # noqa: A002  # click's
    """Return `--shared` of a command that shares more than others do.

    Args:
        help: what it shares.
    """
    return option(
        "--shared",
        section="Limits",
        metavar="URL",
        callback=_keep_shared,
        expose_value=False,
        help=help,
    )


shared_option = shared_option_for(
    "A Valkey or Redis server through which processes share limits, budgets and cached "
    "responses, such as valkey://host:6379. Default: that of the settings file, or "
    f"${SHARED_URL_VARIABLE}, which hides a password from other users."
)
"""Adds `--shared`, whose value `shared_stores` returns."""


def shared_stores(config: Config) -> "SharedStores | None":
    """Return what a command shares: by its option `--shared`, or by its settings file.

    Args:
        config: what the settings file says.
    """
    ctx = click.get_current_context()
    found: SharedStores | None = ctx.meta.get(_SHARED) or config.stores
    return found


class ConfiguredCommand(SectionedCommand):
    """A command whose options have defaults in a settings file and in variables."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the settings file before the options, which override it."""
        if _HELP.isdisjoint(args) and not ctx.resilient_parsing:
            config = self._config(ctx, args)
            ctx.meta[_CONFIG] = config
            if config.chosen.endpoint is not None:
                choice = EndpointChoice(config.chosen.endpoint, config.endpoint_reason)
                ctx.meta[FILE_ENDPOINT] = choice
            ctx.meta[HAS_NO_LEDGER] = config.values.get("ledger", config) is None
            ctx.default_map = _defaults(config)
        return super().parse_args(ctx, args)

    def _config(self, ctx: click.Context, args: list[str]) -> Config:
        try:
            given, _, _ = self.make_parser(ctx).parse_args(list(args))
        except click.UsageError:
            return Config()  # it is raised again
        has_provider = any("--base-url" in one.opts for one in self.params)
        is_other = bool({"provider", "base_url"} & given.keys())
        sources: dict[str, str] = {}  # {what an error names first: what it is named as}
        try:
            if (file := given.get("env_file")) is not None:
                sources[file] = f"--env-file: {file}"
                variables = read_variables(file, os.environ)
                sources |= {name: f"--env-file: {file}: {name}" for name in variables}
                os.environ.update(variables)
            if (path := given.get("config")) is not None:
                sources[path] = f"--config: {path}"
            return read_config(path, with_endpoint=has_provider and not is_other)
        except ConfigError as error:
            first, colon, rest = error.source.partition(": ")
            source = f"{sources.get(first, first)}{colon}{rest}"
            named = ConfigError(error.problem, source=source, field=error.field)
            raise click.UsageError(str(named), ctx) from None


def configured() -> Config:
    """Return what the settings file and the variables of the current command say."""
    config: Config = click.get_current_context().meta[_CONFIG]
    return config


def limits_from(config: Config, *, rpm: float | None, tpm: float | None, in_flight: int) -> Limits:
    """Return the limits of the settings file with those of the options.

    Args:
        config: what the settings file says.
        rpm: requests a minute; None for no limit.
        tpm: tokens a minute; None for no limit.
        in_flight: the most calls in flight at a time.
    """
    return attrs.evolve(_limits(config) or Limits(), rpm=rpm, tpm=tpm, in_flight=in_flight)


def timeouts_from(config: Config, seconds: float) -> Timeouts:
    """Return the timeouts of the settings file, unless the option is given.

    Args:
        config: what the settings file says.
        seconds: the value of `--timeout`.
    """
    source = click.get_current_context().get_parameter_source("timeout")
    found = config.values.get("timeouts")
    is_given = source is _COMMAND_LINE
    return found if isinstance(found, Timeouts) and not is_given else timeouts_of(seconds)


def ledger_from(
    config: Config, file: Path | None, on_unwritten: Callable[[UnwrittenCosts], None]
) -> LedgerPolicy | None:
    """Return the ledger of a command, with the budgets of the settings file.

    Args:
        config: what the settings file says.
        file: the file of the ledger; None for none.
        on_unwritten: is called with what could not be written.
    """
    found = config.values.get("ledger")
    policy = found if isinstance(found, LedgerPolicy) else None
    if file is None and policy is None:
        return None
    return attrs.evolve(policy or LedgerPolicy(), path=file, on_unwritten=on_unwritten)


def with_config(config: Config, settings: TroupeSettings, choice: EndpointChoice) -> TroupeSettings:
    """Return the settings of a command with what the settings file says of all else.

    Args:
        config: what the settings file says.
        settings: the settings that follow from the options.
        choice: the provider of the command.
    """
    is_chosen = choice.reason == config.endpoint_reason
    of_options = {*_OF_OPTIONS}
    if settings.cache is not None and config.values.get("cache") is None:
        of_options.add("cache")  # an option turns it on
    if settings.inspect is not None:
        of_options.add("inspect")  # an option names the socket
    found = config.apply(settings, but=of_options, is_chosen=is_chosen)
    found = attrs.evolve(found, shared=shared_stores(config))
    members = {
        name: _overridden(limits, settings.limits) for name, limits in found.member_limits.items()
    }
    return attrs.evolve(found, member_limits=members)


def _overridden(limits: Limits, options: Limits) -> Limits:
    """Return the limits that a member of a pool has in the file, with those of the options."""
    source = click.get_current_context().get_parameter_source
    return attrs.evolve(
        limits,
        rpm=options.rpm if source("rpm") is _COMMAND_LINE else limits.rpm,
        tpm=options.tpm if source("tpm") is _COMMAND_LINE else limits.tpm,
    )


def _limits(config: Config) -> Limits | None:
    found = config.chosen.limits or config.values.get("limits")
    return found if isinstance(found, Limits) else None


def _defaults(config: Config) -> dict[str, object]:
    """Return the defaults of options, by their names in the command."""
    found: dict[str, object] = {}
    if (limits := _limits(config)) is not None:
        found |= {"rpm": limits.rpm, "tpm": limits.tpm, "max_concurrency": limits.in_flight}
    values = config.values
    if isinstance(timeouts := values.get("timeouts"), Timeouts):
        found["timeout"] = timeouts.send_s
    if isinstance(ledger := values.get("ledger"), LedgerPolicy):
        found["ledger"] = ledger.path
    if "inspect" in values:
        found["inspect"] = str(values["inspect"])
    if "prompt_caching" in values:
        found["prompt_caching"] = values["prompt_caching"]
    found |= {f"{name.rstrip('s')}_file": str(file) for name, file in config.files.items()}
    return {name: value for name, value in found.items() if value is not None}
