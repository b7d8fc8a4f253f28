"""`callsheet run` with `--shared` and `--workers`: other processes send rows of the run, too."""

from rich.console import Console
from rich.text import Text

from ...actors import SharedStores, ValkeyStores
from ...bulk.settings import RunRoute
from ...bulk.shared.sharing import SharedRun
from ...config import SHARED_URL_VARIABLE
from ...endpoints import EndpointChoice
from ...wording import printable
from ..configuration import is_shared_by_option, shared_option_for

_OPENAI_URL = "OPENAI_BASE_URL"  # chooses a provider, and OPENAI_API_KEY is its key then

run_shared_option = shared_option_for(
    "A Valkey or Redis server through which other machines work on the run (callsheet work) and "
    "share its limits, such as valkey://host:6379. Default: that of the settings file, or "
    f"${SHARED_URL_VARIABLE}, which keeps a password out of sight."
)
"""Adds `--shared` to `callsheet run`."""


def shared_run(
    stores: SharedStores | None, route: RunRoute, choice: EndpointChoice, console: Console
) -> SharedRun | None:
    """Return where other processes find the rows of a run; None if they do not.

    A settings file shares limits with other programs as well, so that a run by the Batch API, which
    cannot be shared, is refused only if the option asks for both.

    Args:
        stores: what processes share; None for nothing.
        route: how rows are sent.
        choice: the provider of the run.
        console: where the user is told how other machines join.
    """
    if not isinstance(stores, ValkeyStores):
        return None
    if route == "batch" and not is_shared_by_option():
        return None

    def told(text: str) -> None:
        console.print(Text(printable(text)), soft_wrap=True)

    variables = ("OPENAI_API_KEY",) if choice.reason == _OPENAI_URL else ()
    return SharedRun.of(stores, told=told, key_variables=variables)
