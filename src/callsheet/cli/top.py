"""`callsheet top`: look into a running program."""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import trio
from rich.console import Console

from ..actors import to_line
from ..config import ADMIN_KEY_VARIABLE
from ..top.display import read_once, show
from ..top.source import AdminKey, NoReading
from ..wording import printable
from .configuration import ConfiguredCommand, config_options, configured
from .sections import option

_REFUSED = 2

T = TypeVar("T")


@click.command(
    cls=ConfiguredCommand,
    short_help="Show a running program or gateway.",
    page="docs/top.md",
    examples=(
        "top /run/user/1000/service.sock",
        "top service.sock --json",
        "top http://127.0.0.1:4000",
        "top valkey://host:6379",
    ),
)
@click.argument("inspect", metavar="[PATH]", required=False, type=click.Path(readable=False))
@option(
    "--admin-key-env",
    "admin_key_env",
    metavar="VARIABLE",
    default=ADMIN_KEY_VARIABLE,
    show_default=True,
    help="The variable of the environment that has the admin key of a gateway.",
)
@option(
    "--json",
    "as_json",
    section="Output",
    is_flag=True,
    help="Print one reading as a line of JSON, and end.",
)
@config_options
def top(*, inspect: str | None, admin_key_env: str, as_json: bool) -> None:
    """Show the calls, lanes, limits, actors, costs and errors of a running program.

    PATH is the inspection socket of a program, which opens it with TroupeSettings(inspect=PATH), or
    of `callsheet run --inspect PATH`. It may also be the URL of a gateway (callsheet serve), such
    as http://127.0.0.1:4000, or that of a Valkey or Redis server, which shows all programs that
    share the server (--shared). The screen is updated once a second; ? lists the keys. Default:
    the socket that the settings file names (inspect), or $CALLSHEET_INSPECT; without one, the
    server of the settings file ([shared]), or $CALLSHEET_SHARED_URL.
    """
    path = inspect or configured().shared.location(os.environ)
    if path is None:
        raise click.UsageError(
            "PATH is missing: give the inspection socket, the URL of a gateway or of a shared "
            "server, or a settings file that names a socket or a server"
        )
    admin = AdminKey(admin_key_env, os.environ.get(admin_key_env, "").strip())
    if as_json:
        reading = _run(lambda: read_once(path, admin))
        click.echo(to_line(reading), nl=False)
        return
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        click.echo(
            "Error: this is no terminal that can show the screen; --json prints one reading",
            err=True,
        )
        sys.exit(_REFUSED)
    keyboard = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    try:
        _run(lambda: show(path, console, keyboard, admin))
    except* KeyboardInterrupt:
        pass  # Ctrl-C is one of the ways to quit


def _run(work: Callable[[], Awaitable[T]]) -> T:
    """Run something in Trio; end the process with a sentence if there is no reading."""
    try:
        return trio.run(work)
    except NoReading as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(_REFUSED)
