"""The memory of the gateway over many calls, which must not grow with them."""

import json
from collections.abc import Iterator
from pathlib import Path

from bench_kit.figures import Figure
from bench_kit.processes import run_module
from gateway_bench.load import Window
from gateway_bench.processes import Server
from gateway_bench.sides import open_gateway, open_provider

__all__ = ["memory_figures"]

_CLIENTS = 100
_PARTS = 5
_LATENCY_S = 0.02
_LONGEST_S = 3_600.0
_MIB = 2**20


def memory_figures(folder: Path, calls: int) -> Iterator[Figure]:
    """Make the calls in five parts, each half whole and half streamed; return how memory grows.

    The first part fills caches, windows and the tables of lanes, which have bounds; the growth is
    counted from its end to the end of the last one.

    Args:
        folder: for files of the servers.
        calls: number of calls.
    """
    here = folder / "memory"
    here.mkdir()
    with (
        open_provider(here, _LATENCY_S) as provider,
        open_gateway(here, provider, keys=10) as gateway,
    ):
        resident = [_resident_after(gateway, calls // _PARTS) for _ in range(_PARTS)]
    growth = [max(0.0, (resident[-1] - resident[0]) / _MIB)]
    title = f"memory over {calls:,} calls"
    yield Figure(title, "MiB", [resident[-1] / _MIB])
    yield Figure(f"{title}: growth after the first fifth", "MiB", growth, at_most=5, is_ratio=False)


def _resident_after(gateway: Server, calls: int) -> int:
    """Make some calls, and return the memory of the gateway after them, in bytes."""
    resident = 0
    for streamed in ([], ["--streams"]):
        options = [
            *("--url", gateway.url, "--clients", str(_CLIENTS), "--max-tokens", "100"),
            *("--provider-s", str(_LATENCY_S), "--warm-up-s", "0"),
            *("--window-s", str(_LONGEST_S), "--max-calls", str(calls // 2)),
            *("--pid", str(gateway.pid), *streamed),
        ]
        options += [part for key in gateway.keys for part in ("--key", key)]
        window = Window(**json.loads(run_module("gateway_bench.load", *options)))
        resident = window.resident_bytes
    return resident
