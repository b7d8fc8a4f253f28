"""Measure wall time against the critical path, the least time of any schedule (W1, W2, W3).

    python benchmarks/critical_path.py [--time-scale 1] [--rounds 1]

The provider runs in its own process. The baseline is the sequential mode in the same run: the calls
of an item run one after another, and the items run in parallel threads. Figures are ratios, because
machines are shared and noisy. With several rounds, the figure is the median.
"""

import statistics

import attrs
import click
import trio

from callsheet.compare.comparison import Comparison, compare
from callsheet.compare.workloads import WorkloadName, make_workload


@attrs.frozen
class Figure:
    """A target for a time as a multiple of the critical path.

    Args:
        workload: the workload that is measured.
        measure: "wall" for the wall time of the run, "p99" for the 99th percentile of its items.
        at_most: the target, as a multiple of the critical path.
    """

    workload: WorkloadName
    measure: str
    at_most: float


FIGURES = (
    Figure("post", "wall", 1.02),
    Figure("posts", "p99", 1.05),
    Figure("headlines", "wall", 1.05),
)


def ratio(comparison: Comparison, mode: str, measure: str) -> float:
    """Return a time of one mode divided by the critical path of the slowest item.

    Args:
        comparison: the results.
        mode: the name of the mode.
        measure: "wall" for the wall time, any other for the 99th percentile.
    """
    result = next(result for name, result in comparison.modes.items() if name == mode)
    seconds = result.wall_s if measure == "wall" else result.p99_s
    return seconds / comparison.critical_path_s


async def measure_all(time_scale: float, rounds: int, seed: int) -> bool:
    """Print a line for each figure, and return whether all targets are reached.

    Args:
        time_scale: factor on all latencies.
        rounds: measurements of each figure.
        seed: the seed of the provider and of the workloads.
    """
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
@click.option("--time-scale", default=1.0, show_default=True, help="Factor on all latencies.")
@click.option(
    "--rounds", default=1, show_default=True, help="Measurements of each figure; the median counts."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the provider.")
def main(time_scale: float, rounds: int, seed: int) -> None:
    """Measure W1, W2 and W3 against their critical paths."""
    raise SystemExit(0 if trio.run(measure_all, time_scale, rounds, seed) else 1)


if __name__ == "__main__":
    main()
