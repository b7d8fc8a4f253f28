"""How close a run comes to the time that no order of calls could beat (W1, W2, W3).

    python benchmarks/critical_path.py [--time-scale 1] [--rounds 1]

The provider runs in a process of its own. The baseline is the sequential way in the same run: an
item's calls one after another, the items side by side in threads. Figures are ratios, because
machines are shared and noisy; of several rounds the median counts.
"""

import statistics

import attrs
import click
import trio

from callsheet.compare.comparison import Comparison, compare
from callsheet.compare.workloads import WorkloadName, make_workload


@attrs.frozen
class Figure:
    """What is to be reached: wall or p99, over the critical path."""

    workload: WorkloadName
    measure: str
    at_most: float


FIGURES = (
    Figure("post", "wall", 1.02),
    Figure("posts", "p99", 1.05),
    Figure("headlines", "wall", 1.05),
)


def ratio(comparison: Comparison, mode: str, measure: str) -> float:
    """Wall time or 99th percentile of one way, over the critical path of the slowest item."""
    result = next(result for name, result in comparison.modes.items() if name == mode)
    seconds = result.wall_s if measure == "wall" else result.p99_s
    return seconds / comparison.critical_path_s


async def measure_all(time_scale: float, rounds: int, seed: int) -> bool:
    """Print a line for each figure; whether all are reached."""
    all_reached = True
    for figure in FIGURES:
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(rounds):
            comparison = await compare(
                make_workload(figure.workload, seed=seed),
                seed=seed,
                time_scale=time_scale,
                modes=("sequential", "callsheet"),
            )
            ours.append(ratio(comparison, "callsheet", figure.measure))
            theirs.append(ratio(comparison, "sequential", figure.measure))
        mine, baseline = statistics.median(ours), statistics.median(theirs)
        is_reached = mine <= figure.at_most
        all_reached &= is_reached
        print(
            f"{figure.workload:>9} {figure.measure:>4} / critical path: callsheet {mine:.4f} "
            f"(at most {figure.at_most}: {'reached' if is_reached else 'MISSED'}), "
            f"sequential {baseline:.2f}; sequential / callsheet {baseline / mine:.2f}",
            flush=True,
        )
    return all_reached


@click.command()
@click.option("--time-scale", default=1.0, show_default=True, help="Multiplies all latencies.")
@click.option("--rounds", default=1, show_default=True, help="Of several, the median counts.")
@click.option("--seed", default=0, show_default=True, help="The provider's.")
def main(time_scale: float, rounds: int, seed: int) -> None:
    """Measure W1, W2 and W3 against their critical paths."""
    raise SystemExit(0 if trio.run(measure_all, time_scale, rounds, seed) else 1)


if __name__ == "__main__":
    main()
