"""Sixteen tenants over four processes, unevenly: the limit is divided by their weights."""

from collections import Counter
from collections.abc import Mapping

import click

from bench_kit.figures import Figure
from gateway_bench.fairness import jains_index
from shared_bench.load import Load
from shared_bench.processes import run_loads
from shared_bench.replay import windowed
from shared_bench.server import PrivateServer

__all__ = ["fair"]

_TENANTS, _PROCESSES = 16, 4
_RPM = 12_000  # 200 a second
_WARM_S, _WINDOW_S = 3.0, 12.0  # 150 calls of each tenant
_WAITING = 60  # calls of each tenant in each of its processes: more than four seconds of its share
_EQUAL: Mapping[str, float] = {}
_WEIGHTED = {f"tenant {number}": float(1 + number % 4) for number in range(_TENANTS)}


def fair(server: PrivateServer) -> list[Figure]:
    """Return Jain's index with equal weights, and with weights of 1 to 4."""
    figures: list[Figure] = []
    for title, weights in (("equal weights", _EQUAL), ("weights 1 to 4", _WEIGHTED)):
        click.echo(f"{_TENANTS} tenants, {title} ...", err=True)
        index, used = _measured(server, weights)
        about = f"{_TENANTS} tenants, {_PROCESSES} proc., {title}: "
        figures += [
            Figure(f"{about}Jain's index", "", [index], at_least=0.98, is_ratio=False),
            Figure(f"{about}used", "", [used], at_least=0.98, is_ratio=False),
        ]
    return figures


def _lanes(process: int) -> list[str]:
    """Return the tenants of a process: a quarter is in all, a quarter in three, two and one."""
    return [f"tenant {number}" for number in range(_TENANTS) if process <= number // 4]


def _measured(server: PrivateServer, weights: Mapping[str, float]) -> tuple[float, float]:
    loads = [
        Load(_RPM, url=server.url, waiting=_WAITING, lanes=_lanes(process), weights=weights)
        for process in range(_PROCESSES)
    ]
    sent, start = run_loads(loads, _WARM_S + _WINDOW_S)
    got: Counter[str] = Counter()
    for one in sent:
        got.update(
            lane for at, lane in zip(one.instants, one.lanes, strict=True) if at >= start + _WARM_S
        )
    inside = windowed([at for one in sent for at in one.instants], start + _WARM_S, float("inf"))
    used = (len(inside) - 1) / (inside[-1] - inside[0]) / (_RPM / 60.0)
    names = [f"tenant {number}" for number in range(_TENANTS)]
    return jains_index([got[name] / weights.get(name, 1.0) for name in names]), used
