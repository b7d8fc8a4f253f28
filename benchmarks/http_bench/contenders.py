"""The contenders, and how to load each of them."""

from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Literal

import attrs

from http_bench.call import Contender, Target
from http_bench.meter import Meter, Plan, Say

__all__ = ["BARE", "CONTENDERS", "HTTPX", "LLHTTP", "OPENAI", "OURS", "Entrant", "find_contenders"]

OURS, HTTPX, OPENAI, BARE, LLHTTP = "callsheet", "httpx", "openai", "bare h11", "bare llhttp"

Loop = Callable[[Contender, Target, Meter, Plan, Say], None]


@attrs.frozen
class Entrant:
    """One contender.

    Args:
        package: the package that must be installed.
        module: its module in this package; imported only in the process that measures it.
        loop: the event loop that it runs on.
        opener: the function of the module that opens the client.
        remark: how the client is used, for the notes.
        most: the most concurrent calls that it is measured with; more would take minutes.
    """

    package: str
    module: str
    loop: Literal["trio", "asyncio"]
    remark: str
    opener: str = "open_client"
    most: int = 2_000

    @property
    def version(self) -> str:
        """The version of its package."""
        return metadata.version(self.package)

    def load(self) -> Contender:
        """Import the function that opens the client."""
        contender: Contender = getattr(import_module(f"http_bench.{self.module}"), self.opener)
        return contender

    def load_loop(self) -> Loop:
        """Import the function that runs it."""
        loop: Loop = import_module(f"http_bench.{self.loop}_loop").run
        return loop


CONTENDERS: Mapping[str, Entrant] = {
    OURS: Entrant(
        "callsheet",
        "callsheet_way",
        "trio",
        "all stages of a call, with limits that do not bind",
    ),
    HTTPX: Entrant("httpx", "httpx_way", "trio", "AsyncClient with its own pool limits"),
    "httpx, raised": Entrant(
        "httpx",
        "httpx_way",
        "trio",
        "the same, with a pool for all calls in flight",
        opener="open_raised",
        most=1_000,
    ),
    "httpx2": Entrant(
        "httpx2", "httpx2_way", "trio", "AsyncClient with its own pool limits", most=1_000
    ),
    OPENAI: Entrant(
        "openai",
        "openai_way",
        "asyncio",
        "AsyncOpenAI with its own pool limits",
        most=1_000,
    ),
    "aiohttp": Entrant(
        "aiohttp",
        "aiohttp_way",
        "asyncio",
        "ClientSession with a pool for all calls in flight",
    ),
    BARE: Entrant(
        "h11",
        "bare_way",
        "trio",
        "a list of sockets, a prepared request, and a streamed response parsed by h11; no "
        "deadlines and no JSON",
    ),
    LLHTTP: Entrant(
        "httptools",
        "bare_way",
        "trio",
        "the same pool with the parser of Node.js, the lower bound",
        opener="open_llhttp",
    ),
}


def find_contenders() -> tuple[list[str], list[str]]:
    """Return the names of the installed contenders, and notes on the others."""
    found = [name for name, entrant in CONTENDERS.items() if find_spec(entrant.package)]
    missing = [name for name in CONTENDERS if name not in found]
    return found, [f"{name} is not installed and is left out." for name in missing]
