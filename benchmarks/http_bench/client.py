"""Measure one contender for one window, in its own process.

    python -m http_bench.client callsheet http://127.0.0.1:8000/v1 --in-flight 100 --provider PID

prints a `Sample` as JSON.
"""

import json
import os
import resource

import attrs
import click

from http_bench.call import Target
from http_bench.contenders import CONTENDERS
from http_bench.meter import Meter, Plan, Sample

__all__ = ["main"]


@click.command()
@click.argument("contender", type=click.Choice(list(CONTENDERS)))
@click.argument("base_url")
@click.option("--in-flight", type=click.IntRange(1), required=True)
@click.option("--provider", type=int, required=True, help="Its process id.")
@click.option("--seconds", type=float, default=1.5, help="Of the window.")
@click.option("--warm-up", type=float, default=6.0, help="Seconds before it, at most.")
@click.option("--ca", help="The file of the authority to trust; none for plain HTTP.")
def main(
    contender: str,
    base_url: str,
    *,
    in_flight: int,
    provider: int,
    seconds: float,
    warm_up: float,
    ca: str | None,
) -> None:
    """Make calls, and print the sample as JSON."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    entrant, meter = CONTENDERS[contender], Meter(provider, in_flight)
    run = entrant.load_loop()
    run(entrant.load(), Target(base_url, in_flight, ca), meter, Plan(seconds, warm_up), say)


def say(sample: Sample) -> None:
    """Print the sample and exit; some contenders need minutes to close a thousand connections."""
    print(json.dumps(attrs.asdict(sample)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
