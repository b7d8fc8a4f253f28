"""What an import costs, as a ratio to the import of the libraries below it.

    python benchmarks/imports.py [--rounds 9] [--json] [--check]

Each statement runs in a fresh process, with its bytecode cached and a fixed hash seed. CPU time is
the user and system time of the process; the processes of a round take turns, and the table has the
medians of the rounds. Where `valgrind` is installed, its cachegrind counts the instructions of each
process, once: the count varies by less than 1 %, so a ratio of instructions is the one to trust.

The baselines include click, rich and pygments, which httpx imports where they are installed; and
structlog imports rich.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping

import attrs
import click

from bench_kit.figures import Figure
from bench_kit.processes import module_environment
from bench_kit.report import figures_table, print_tables

_TROUPE = "from callsheet import open_troupe, Request, Endpoint, TroupeSettings"
_OPEN_TROUPE = f"""
import trio
{_TROUPE}

async def main():
    async with open_troupe(TroupeSettings(endpoint=Endpoint("http://127.0.0.1:1/v1"))):
        pass

trio.run(main)
"""
_OPEN_CLIENT = """
import trio, httpx

async def main():
    async with httpx.AsyncClient():
        pass

trio.run(main)
"""
_VERSION = """
import sys
from callsheet.cli import main

sys.argv = ["callsheet", "--version"]
main()
"""


@attrs.frozen
class Subject:
    """One statement and the one that it is compared with.

    Args:
        name: the row of the table.
        code: the Python code to run.
        baseline_name: the name of the other code.
        baseline: the other code.
        at_most: the largest ratio allowed; None if there is no target.
    """

    name: str
    code: str
    baseline_name: str
    baseline: str
    at_most: float | None = None


_SUBJECTS = (
    Subject("import what a troupe needs", _TROUPE, "trio, httpx", "import trio, httpx", 1.7),
    Subject(
        "import callsheet.runtime",
        "import callsheet.runtime",
        "trio, attrs, structlog",
        "import trio, attrs, structlog",
        1.2,
    ),
    Subject("callsheet --version", _VERSION, "trio, httpx", "import trio, httpx", 0.5),
    Subject("import callsheet", "import callsheet", "trio, httpx", "import trio, httpx"),
    Subject("open and close a troupe", _OPEN_TROUPE, "httpx.AsyncClient", _OPEN_CLIENT),
)


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True, help="Turns each.")
@click.option("--json", "as_json", is_flag=True, help="Print all values instead of the table.")
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
def main(*, rounds: int, as_json: bool, check: bool) -> None:
    """Compare the cost of imports with that of the libraries below."""
    codes = list(dict.fromkeys(code for it in _SUBJECTS for code in (it.code, it.baseline)))
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(folder)
        for code in codes:
            _cpu_s(code, environment)  # writes the bytecode
        seconds: dict[str, list[float]] = {code: [] for code in codes}
        for _ in range(rounds):
            for code in codes:
                seconds[code].append(_cpu_s(code, environment))
        times = {code: [1e3 * one for one in seconds[code]] for code in codes}
        figures = [_figure(it, "CPU time", "ms", times) for it in _SUBJECTS]
        notes = [f"CPU time: medians of {rounds} rounds."]
        if shutil.which("valgrind") is None:
            notes.append("Instructions are not counted: valgrind is not installed.")
        else:
            counts = {code: [_instructions(code, environment) / 1e6] for code in codes}
            figures += [_figure(it, "instructions", "M", counts) for it in _SUBJECTS]
    if as_json:
        values = {"figures": [figure.as_dict() for figure in figures], "notes": notes}
        click.echo(json.dumps(values, indent=2))
    else:
        print_tables([figures_table(figures)], notes)
    if check and any(figure.is_reached is False for figure in figures):
        raise SystemExit(1)


def _figure(subject: Subject, measure: str, unit: str, values: Mapping[str, list[float]]) -> Figure:
    return Figure(
        f"{subject.name}: {measure}",
        unit,
        values[subject.code],
        subject.baseline_name,
        values[subject.baseline],
        at_most=subject.at_most,
    )


def _environment(bytecode: str) -> dict[str, str]:
    """Return the environment of the processes: with a fixed hash seed and cached bytecode.

    Args:
        bytecode: the folder for the bytecode.
    """
    return {
        **{k: v for k, v in module_environment().items() if k != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPYCACHEPREFIX": bytecode,
        "PYTHONHASHSEED": "0",
    }


def _cpu_s(code: str, environment: Mapping[str, str]) -> float:
    """Run the code in a process and return its CPU time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _instructions(code: str, environment: Mapping[str, str]) -> float:
    """Run the code under cachegrind and return the number of instructions."""
    command = [
        "valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={os.devnull}",
        sys.executable, "-c", code,
    ]  # fmt: skip
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", run.stderr)
    if found is None:
        raise RuntimeError(f"valgrind reported no instructions: {run.stderr}")
    return float(found[1].replace(",", ""))


if __name__ == "__main__":
    main()
