"""Who takes part, and how each is found."""

from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Literal

import attrs

from http_bench.call import Contender, Target
from http_bench.meter import Meter, Plan, Say

__all__ = ["BARE", "CONTENDERS", "HTTPX", "OPENAI", "OURS", "Entrant", "find_contenders"]

OURS, HTTPX, OPENAI, BARE = "callsheet", "httpx", "openai", "bare h11"

Loop = Callable[[Contender, Target, Meter, Plan, Say], None]


@attrs.frozen
class Entrant:
    """One contender.

    Args:
        package: what has to be installed.
        module: where it is in this package; imported only in the process that measures it.
        loop: what it runs on.
        opener: the module's function that sets it up.
        remark: how it is used.
        most: how many calls at a time it is asked to make; more of them would take minutes.
    """

    package: str
    module: str
    loop: Literal["trio", "asyncio"]
    remark: str
    opener: str = "open_client"
    most: int = 2_000

    @property
    def version(self) -> str:
        """Of its package."""
        return metadata.version(self.package)

    def load(self) -> Contender:
        """Import it."""
        contender: Contender = getattr(import_module(f"http_bench.{self.module}"), self.opener)
        return contender

    def load_loop(self) -> Loop:
        """Import what runs it."""
        loop: Loop = import_module(f"http_bench.{self.loop}_loop").run
        return loop


CONTENDERS: Mapping[str, Entrant] = {
    OURS: Entrant(
        "callsheet",
        "callsheet_way",
        "trio",
        "the whole way of a call, with limits that do not bind",
    ),
    HTTPX: Entrant("httpx", "httpx_way", "trio", "AsyncClient with its own pool limits"),
    "httpx, raised": Entrant(
        "httpx",
        "httpx_way",
        "trio",
        "the same with a pool as large as the calls in flight",
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
        "ClientSession with a pool as large as the calls in flight",
    ),
    BARE: Entrant(
        "h11",
        "bare_way",
        "trio",
        "the floor: a list of sockets, a request made beforehand, the same streamed answer read by "
        "h11; no deadline, no JSON, nothing else",
    ),
}


def find_contenders() -> tuple[list[str], list[str]]:
    """The names of those that are installed, and what is to be said of the others."""
    found = [name for name, entrant in CONTENDERS.items() if find_spec(entrant.package)]
    missing = [name for name in CONTENDERS if name not in found]
    return found, [f"{name} is not installed: nothing is compared with it." for name in missing]
