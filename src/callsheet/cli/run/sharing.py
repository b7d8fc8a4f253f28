"""`callsheet run` with `--shared` and `--workers`: other processes send rows of the run, too."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import click
from rich.console import Console
from rich.text import Text

from ...actors import SharedStores, ValkeyStores
from ...bulk.engine.run import BulkRun
from ...bulk.settings import BulkSettings, RunRoute
from ...bulk.shared.local_workers import open_local_server, open_local_workers
from ...bulk.shared.sharing import SharedRun
from ...config import SHARED_URL_VARIABLE
from ...wording import printable
from ..configuration import is_shared_by_option, shared_option_for
from ..sections import option

workers_option = option(
    "--workers",
    section="Limits",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="The number of processes of this machine that send rows. Without --shared they share a "
    "private server, for which valkey-server or redis-server must be installed.",
)
"""Adds `--workers` to `callsheet run`."""

run_shared_option = shared_option_for(
    "A Valkey or Redis server through which other machines send rows of the run (callsheet work) "
    "and share its limits, such as valkey://host:6379. Default: that of the settings file, or "
    f"${SHARED_URL_VARIABLE}, which hides a password from other users."
)
"""Adds `--shared` to `callsheet run`."""


@asynccontextmanager
async def open_local_sharing(
    settings: BulkSettings, count: int
) -> AsyncGenerator[tuple[BulkSettings, str]]:
    """Return the settings of a run with workers on this machine, and the URL that they share.

    Args:
        settings: the settings of the run by the other options.
        count: the number of processes, this one included; 1 changes nothing.

    Raises:
        NoServer: no server is given, and none is installed.
    """
    if count == 1:
        yield settings, ""
    elif settings.shared is not None and isinstance(settings.shared.stores, ValkeyStores):
        yield settings, settings.shared.stores.url.with_login
    else:
        async with open_local_server() as url:
            yield attrs.evolve(settings, shared=url), url


@asynccontextmanager
async def open_workers(
    run: BulkRun, url: str, count: int, told: Callable[[str], None]
) -> AsyncGenerator[None]:
    """Let further processes of this machine work on a run, for the length of a block.

    Args:
        run: the run, which has started.
        url: what `open_local_sharing` returned.
        count: the number of processes, this one included.
        told: called with a sentence for the user.
    """
    if count == 1:
        yield
        return
    async with open_local_workers(url, run.shared_name, count - 1, told=told):
        yield


def shared_run(stores: SharedStores | None, route: RunRoute, console: Console) -> SharedRun | None:
    """Return where other processes find the rows of a run; None if they do not.

    A settings file shares limits with other programs as well, so that a run by the Batch API, which
    cannot be shared, is refused only if the option asks for both.

    Args:
        stores: what processes share; None for nothing.
        route: how rows are sent.
        console: where the user is told how other machines join.
    """
    if not isinstance(stores, ValkeyStores):
        return None
    if route == "batch" and not is_shared_by_option():
        return None

    def told(text: str) -> None:
        console.print(Text(printable(text)), soft_wrap=True)

    return SharedRun.of(stores, told=told)
