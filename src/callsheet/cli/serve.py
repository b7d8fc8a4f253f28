"""`callsheet serve`: serve the APIs of OpenAI and Anthropic to other programs."""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import attrs
import click
import trio
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..actors import Endpoint, InspectionUnavailable, PriceError, StorageError
from ..collecting import rare_collections
from ..config import CONFIG_VARIABLE, SHARED_URL_VARIABLE, ConfigError, read_variables
from ..costs.price_table import current_prices, remark_on_no_table
from ..costs.report import default_ledger
from ..endpoints import EndpointChoice, open_endpoint
from ..gateway import Gateway, GatewaySettings, open_gateway, read_gateway
from ..gateway.check import CheckedPart, check_gateway
from ..gateway.keys import KeyPlace
from ..gateway.request_log import line_writer
from ..interrupts import INTERRUPTED
from ..runtime import open_collapsing_nursery
from ..serving import CannotServe, check_address
from ..wording import duration, printable
from .configuration import check_shared_url
from .key_options import KeyPlaceOption
from .options import chosen_endpoint, provider_options, set_up_logging, verbose_option
from .sections import SectionedCommand, option
from .service_manager import notify_ready, notify_reloading, notify_stopping
from .signals import STOP_SIGNALS, open_signals

_REFUSED = 2
_HANG_UP: int | None = getattr(signal, "SIGHUP", None)  # Windows has none
_STYLES = {"ok": "green", "note": "yellow", "error": "red"}


@attrs.frozen
class ServedFile:
    """Reads the settings of a gateway, as often as its file changes.

    Args:
        path: the settings file; None for the one that the environment names, or none.
        env_file: a file of variables; None for none.
        listen: the addresses to listen at instead of those of the file.
        keys: the key store instead of that of the file.
        shared: the URL of the server that replicas share instead of that of the file.
        choice: the provider of all models instead of the endpoints of the file.
        environ: the variables with which the process was started.
    """

    path: Path | None
    env_file: Path | None
    listen: tuple[str, ...]
    keys: KeyPlace | None
    shared: str | None = attrs.field(repr=False)  # it may have a password (L8)
    choice: EndpointChoice | None
    environ: Mapping[str, str] = attrs.field(factory=lambda: dict(os.environ), repr=False)

    @property
    def is_builtin(self) -> bool:
        """Whether the provider is the one in this process, which costs nothing."""
        return self.choice is not None and self.choice.endpoint is None

    @property
    def has_file(self) -> bool:
        """Whether there is a file that can be read again."""
        named = self.environ.get(CONFIG_VARIABLE, "").strip()
        return self.path is not None or self.env_file is not None or bool(named)

    def read(self, endpoint: Endpoint | None) -> GatewaySettings:
        """Read the files.

        Args:
            endpoint: serves all models; None for the endpoints of the file.

        Raises:
            ConfigError: something in them cannot be used.
        """
        environ = dict(self.environ)
        if self.env_file is not None:
            variables = read_variables(self.env_file, self.environ)
            environ |= variables
            os.environ.update(variables)  # some libraries read the environment themselves
        try:
            return read_gateway(
                self.path,
                environ,
                endpoint=endpoint,
                listen=self.listen,
                keys=self.keys,
                shared=self.shared,
                ledger=None if self.is_builtin else default_ledger(environ),
                prices=current_prices(environ),
            )
        except PriceError as error:
            raise ConfigError(str(error)) from None


@click.command(
    cls=SectionedCommand,
    short_help="Serve the APIs of OpenAI and Anthropic to other programs.",
    page="docs/gateway.md",
    examples=(
        "serve --provider builtin",
        "serve callsheet.toml --check",
        "serve callsheet.toml --env-file .env",
    ),
    epilog="SIGHUP reads FILE again: models, endpoints, limits, lanes, patience and certificates. "
    "SIGTERM and Ctrl-C let running requests end; a second one ends them at once.",
)
@click.argument(
    "path", metavar="[FILE]", required=False, type=click.Path(dir_okay=False, path_type=Path)
)
@provider_options
@option(
    "--listen",
    section="Server",
    metavar="ADDRESS",
    multiple=True,
    help="Where to listen, such as 127.0.0.1:4000 or unix:/run/callsheet.sock; may be repeated. "
    "Without a key store, only this machine may be able to connect.",
)
@option(
    "--keys",
    section="Server",
    metavar="STORE",
    type=KeyPlaceOption(),
    help="The key store, which callsheet keys writes: a file, or shared for the keys on the server "
    "that replicas share. Default: that of FILE, or none.",
)
@option(
    "--shared",
    section="Server",
    metavar="URL",
    help="The Valkey or Redis server through which replicas share limits, budgets, keys and cached "
    "responses, such as valkey://host:6379. Default: that of FILE, or "
    f"${SHARED_URL_VARIABLE}, which hides a password from other users.",
)
@option(
    "--check",
    section="Server",
    is_flag=True,
    help="Check the file, the keys of providers, the key store, addresses, certificate, prices and "
    "budgets without sending anything, and end.",
)
@option(
    "--env-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file of variables, such as .env: keys of providers, for example. A variable of the "
    "environment overrides it.",
)
@verbose_option
def serve(
    *,
    path: Path | None,
    base_url: str | None,
    provider: str | None,
    listen: tuple[str, ...],
    keys: KeyPlace | None,
    shared: str | None,
    check: bool,
    env_file: Path | None,
    verbose: bool,
) -> None:
    """Serve the APIs of OpenAI and Anthropic, with the endpoints, models and keys of FILE.

    Programs only have to set its URL, as OPENAI_BASE_URL or ANTHROPIC_BASE_URL. At the limits of
    the providers, their calls wait for fair turns. FILE is a settings file (docs/settings.md).
    Default: the file that $CALLSHEET_CONFIG names; without that, the provider of the environment
    serves all models.
    """
    # A gateway runs unattended: a key store that cannot be read, for example, is a warning.
    set_up_logging(is_verbose=verbose, usual=logging.WARNING, is_stamped=True)
    choice = None
    if provider is not None or base_url is not None:
        choice = chosen_endpoint(base_url, provider)
    if shared is not None:
        check_shared_url(shared)
    file = ServedFile(path, env_file, listen, keys, shared, choice)
    problems: list[str] = []
    status = 0
    try:
        status = trio.run(_check if check else _serve, file)
    except* (ConfigError, CannotServe, StorageError, InspectionUnavailable) as group:
        problems += map(str, group.exceptions)
    if problems:  # raised here, because `except*` would wrap it in a group
        click.echo(f"Error: {printable(problems[0])}", err=True)
    sys.exit(_REFUSED if problems else status)


async def _check(file: ServedFile) -> int:
    """Print what was checked, and return the exit status."""
    async with AsyncExitStack() as stack:
        settings = file.read(await _endpoint(file, stack))
        parts = await check_gateway(settings)
    console = Console(highlight=False)
    console.print(_table(parts))
    is_usable = all(part.state != "error" for part in parts)
    if not is_usable:
        click.echo("The gateway cannot start with these settings.", err=True)
    return 0 if is_usable else _REFUSED


def _table(parts: tuple[CheckedPart, ...]) -> Table:
    table = Table("part", "name", "", "result", box=box.SIMPLE, pad_edge=False)
    for part in parts:
        style = _STYLES[part.state]
        cells = Text(part.name), Text(part.state, style), Text(printable(part.text))
        table.add_row(part.part, *cells)  # as Text, because '[...]' in a str is markup
    return table


async def _endpoint(file: ServedFile, stack: AsyncExitStack) -> Endpoint | None:
    """Return the endpoint that serves all models; the built-in one runs until the stack ends."""
    if file.choice is None:
        return None
    return await stack.enter_async_context(open_endpoint(file.choice))


async def _serve(file: ServedFile) -> int:
    """Serve until a signal, and return the exit status."""
    with trio.CancelScope() as whole:
        async with AsyncExitStack() as stack:
            endpoint = await _endpoint(file, stack)
            settings = file.read(endpoint)
            await _refuse_errors(settings)
            for address in settings.listen:  # the server starts last, when files are made
                await check_address(address)
            log = line_writer(sys.stderr)
            gateway = await stack.enter_async_context(open_gateway(settings, log=log))
            _say_how_to_use(file, gateway, settings)
            with rare_collections():
                await _run(file, gateway, endpoint, whole)
    return INTERRUPTED if whole.cancelled_caught else 0


async def _refuse_errors(settings: GatewaySettings) -> None:
    """Refuse settings that `--check` finds an error in.

    Raises:
        ConfigError: a part cannot be used.
    """
    for part in await check_gateway(settings):
        if part.state == "error":
            raise ConfigError(part.text)


async def _run(
    file: ServedFile, gateway: Gateway, endpoint: Endpoint | None, whole: trio.CancelScope
) -> None:
    """Act on signals until the gateway has drained. A second one cancels the whole command."""
    stopping, has_terminal = trio.Event(), _has_terminal()

    async with open_collapsing_nursery() as nursery:

        def stop() -> None:
            if stopping.is_set():
                _say("ending", "Ending at once.")
                whole.cancel()
            stopping.set()

        async def hang_up(_: int) -> None:
            if not file.has_file or (has_terminal and not _has_terminal()):
                stop()  # the terminal is gone
            else:  # beside the signals, because it may take seconds
                nursery.start_soon(_reload, file, gateway, endpoint)

        others = set[int]() if _HANG_UP is None else {_HANG_UP}
        async with open_signals(stop, stops=STOP_SIGNALS, others=others, on_other=hang_up):
            notify_ready(_status(gateway))  # a signal from now on does what it should
            await stopping.wait()
            notify_stopping("Running requests may end")
            _say(
                "draining",
                "Accepting no more requests. Those that run have "
                f"{duration(gateway.settings.drain_s)}; press Ctrl-C again to end at once.",
            )
            await gateway.drain()
            nursery.cancel_scope.cancel()


async def _reload(file: ServedFile, gateway: Gateway, endpoint: Endpoint | None) -> None:
    """Read the file again. A file that cannot be used changes nothing."""
    notify_reloading()
    try:
        settings = file.read(endpoint)
        await _refuse_errors(settings)
        change = await gateway.reload(settings)
    except Exception as error:  # noqa: BLE001  # whatever it is, calls go on
        _say("settings_kept", f"The settings stay as they are: {printable(str(error))}")
        return
    finally:
        notify_ready(_status(gateway))
    text = printable(change.text) or "nothing has changed"
    certificate = "" if settings.tls is None else ", and so was the certificate"
    _say("settings_read", f"The settings were read again{certificate}: {text}.")


def _say_how_to_use(file: ServedFile, gateway: Gateway, settings: GatewaySettings) -> None:
    """Print the URLs on stdout, and everything else that a person needs on stderr."""
    for address in gateway.urls:
        click.echo(address)
    sys.stdout.flush()
    for name, troupe in settings.troupes.items():
        ends = ", ".join(f"{one.vendor.title} at {one.shown_url}" for one in troupe.endpoint.each)
        if file.is_builtin:
            ends = "the built-in provider, which costs nothing"
        models = [route.name for route in settings.routes if route.troupe == name]
        _greet(f"{printable(name)}: {printable(', '.join(models))} at {ends}")
    key = "any" if settings.keys is None else "cs-..."
    url = gateway.urls[0].replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    if not url.startswith("unix:"):
        _greet(f"To use it, set OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}")
        _greet(f"or ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key}")
        _greet(f"To look at it, open {url}/ui, or run callsheet top {url}")
    if not file.is_builtin and (remark := remark_on_no_table()):
        _greet(printable(remark))
    _greet("Press Ctrl-C to stop.")


def _status(gateway: Gateway) -> str:
    return f"Serving at {', '.join(gateway.urls)}"


def _say(event: str, text: str) -> None:
    """Write a line of the log to stderr, in the form of all its lines."""
    line_writer(sys.stderr, event)({"message": text})


def _greet(text: str) -> None:
    """Print on a terminal what a person needs to begin; in a log it is a line of the log."""
    if not sys.stderr.isatty():
        _say("serving", text)
        return
    with suppress(OSError):
        click.echo(text, err=True)


def _has_terminal() -> bool:
    try:
        return os.isatty(sys.stdin.fileno())
    except (AttributeError, OSError, ValueError):  # stdin is closed, or replaced by a test
        return False
