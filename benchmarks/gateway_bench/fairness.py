"""Twenty tenants of equal weight at a limit: equal shares, no refusal, and little of it unused."""

import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench_kit.figures import Figure
from bench_kit.processes import run_module
from gateway_bench.load import Window
from gateway_bench.processes import Server
from gateway_bench.sides import open_gateway, open_provider

__all__ = ["fairness_figures", "jains_index"]

_TENANTS = 20
_CLIENTS = 200  # ten for each tenant
_RPM = 3_000
_BURST_S = 1.0  # what the limit allows in this time can be used at once; the gateway's default
_JITTER_S = 1.0  # by which requests may come closer together than they were sent, on a busy machine
_LATENCY_S = 0.5
_WINDOW_S = 40.0  # 2,000 calls, 100 for each tenant


def fairness_figures(folder: Path) -> Iterator[Figure]:
    """Measure one window with all tenants, and return its figures.

    Args:
        folder: for files of the servers.
    """
    here = folder / "fair"
    here.mkdir()
    limits = f"in_flight = 1000\nrpm = {_RPM}\nburst_s = {_BURST_S}"
    options = ("--rpm", str(_RPM), "--burst", str(_BURST_S + _JITTER_S))
    with (
        open_provider(here, _LATENCY_S, *options) as provider,
        open_gateway(here, provider, keys=_TENANTS, limits=limits) as gateway,
    ):
        window = _window(gateway)
        refused = _refused_by(provider)
    used = window.calls / window.wall_s / (_RPM / 60)
    title = f"{_TENANTS} tenants at a limit"
    index = jains_index(window.by_key)
    failed = sum(window.failures.values())
    yield Figure(f"{title}: Jain's index", "", [index], at_least=0.99, is_ratio=False)
    yield Figure(f"{title}: use of the limit", "", [used], at_least=0.98, is_ratio=False)
    yield Figure(f"{title}: refused by the provider", "", [refused], at_most=0, is_ratio=False)
    yield Figure(f"{title}: failed calls", "", [failed], at_most=0, is_ratio=False)


def jains_index(shares: Sequence[float]) -> float:
    """Return Jain's index of fairness: 1 for equal shares, 1/n if one of n has everything.

    R. Jain, D. Chiu and W. Hawe, "A Quantitative Measure of Fairness", DEC-TR-301, 1984.

    Args:
        shares: what each tenant got.
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def _window(gateway: Server) -> Window:
    options = [
        *("--url", gateway.url, "--clients", str(_CLIENTS), "--max-tokens", "100"),
        *("--provider-s", str(_LATENCY_S), "--warm-up-s", "5", "--window-s", str(_WINDOW_S)),
        *("--pid", str(gateway.pid)),
    ]
    options += [part for key in gateway.keys for part in ("--key", key)]
    return Window(**json.loads(run_module("gateway_bench.load", *options)))


def _refused_by(provider: Server) -> int:
    """Return how many requests the provider has refused because of its limit."""
    address = provider.url.removesuffix("/v1") + "/callsheet/stats"
    with urllib.request.urlopen(address) as response:  # noqa: S310  # of this machine
        stats = json.load(response)
    rejected: int = stats["rejected"]
    return rejected
