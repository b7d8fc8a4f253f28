"""Examine the Valkey or Redis server that processes share."""

import shutil
from collections.abc import Mapping, Sequence

import trio

from ..actors import ServerUrl, StorageError, UnsuitableServer, ValkeyClient, open_valkey
from ..wording import printable
from .finding import Finding

_SECTION = "Shared server"
_PROGRAMS = ("valkey-server", "redis-server")


async def examine_server(url: ServerUrl | None, *, sends: bool) -> Sequence[Finding]:
    """Return what was found out about the server that processes share.

    Args:
        url: where the server is; None for none.
        sends: whether it is asked.
    """
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        text = "not found; callsheet run --workers needs valkey-server or redis-server"
        own = Finding(_SECTION, "on this machine", "absent", text)
    else:
        own = Finding(_SECTION, "on this machine", "ok", f"{program}, for callsheet run --workers")
    if url is None:
        return [Finding(_SECTION, "shared", "absent", "none is named (--shared URL)"), own]
    if not sends:
        return [Finding(_SECTION, "shared", "absent", f"{url}: not asked (--offline)"), own]
    return [*await _asked(url), own]


async def _asked(url: ServerUrl) -> list[Finding]:
    found: list[Finding] = []
    try:
        async with open_valkey(url) as client:
            began = trio.current_time()
            info = await client.info()
            took = 1000 * (trio.current_time() - began)
            kind = "Valkey" if "valkey_version" in info else "Redis"
            version = info.get("valkey_version") or info.get("redis_version", "")
            text = f"{url}: {kind} {version} answers ({took:,.0f} ms)"
            found.append(Finding(_SECTION, "shared", "ok", printable(text)))
            await client.check(keeps=False)
            found.append(Finding(_SECTION, "memory", "ok", _memory(info)))
            found.append(await _keeps(client))
    except StorageError as error:
        name, shown = ("memory", "") if found else ("shared", f"{url}: ")
        text = printable(f"{shown}{error.reason}")
        found.append(Finding(_SECTION, name, "problem", text, error.remedy))
    return found


async def _keeps(client: ValkeyClient) -> Finding:
    """Find out whether the server keeps what it has when it ends."""
    try:
        await client.check(keeps=True)
    except UnsuitableServer as error:
        text = f"{error.reason}. Limits can be shared, and rows of a run (--shared) cannot"
        return Finding(_SECTION, "disk", "note", text, error.remedy)
    return Finding(_SECTION, "disk", "ok", "what it has outlives it (appendonly yes)")


def _memory(info: Mapping[str, str]) -> str:
    most = int(info.get("maxmemory", "0"))
    policy = info.get("maxmemory_policy", "noeviction")
    size = f"{most / 1_000_000:,.0f} MB at most" if most else "no limit of its own"
    return f"{size}, maxmemory-policy {policy}"
