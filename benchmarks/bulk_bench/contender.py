"""The common part of all contenders: write the input, run, and measure time and memory."""

import json
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import attrs

from bench_kit.processes import resident_bytes
from bench_kit.sampling import cpu_s

__all__ = ["IN_FLIGHT", "Measured", "main_of", "write_rows"]

IN_FLIGHT = 100
_EVERY_S = 0.5


@attrs.frozen
class Measured:
    """The measurements of one run.

    Args:
        rows: number of rows in the output.
        wall_s: seconds from the start to the end of the run.
        cpu_s: CPU seconds of the process in that time.
        resident: resident memory in bytes, every half second.
    """

    rows: int
    wall_s: float
    cpu_s: float
    resident: list[int]


def write_rows(path: Path, count: int) -> None:
    """Write an input file in the format of OpenAI's batches.

    Args:
        path: the file to write.
        count: number of rows.
    """
    with path.open("w", encoding="utf-8") as file:
        for number in range(1, count + 1):
            prompt = f"Say hello to guest {number}, who comes from afar."
            body = {
                "model": "gpt-4o-mini",
                "messages": [
                    {"role": "system", "content": "You are the host of a dinner. Be brief."},
                    {"role": "user", "content": prompt},
                ],
                "max_tokens": 40,
            }
            line = {
                "custom_id": f"guest-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            file.write(json.dumps(line) + "\n")


@contextmanager
def _sampled() -> Generator[list[int]]:
    found: list[int] = [resident_bytes()]
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(_EVERY_S):
            found.append(resident_bytes())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    yield found
    is_over.set()
    thread.join()
    found.append(resident_bytes())


def main_of(run: Callable[[str, Path, Path, str], None]) -> None:
    """Run a contender with the arguments of this process, and print its `Measured` as JSON."""
    base_url, source, output, mode = sys.argv[1:]
    with _sampled() as resident:
        since, cpu = perf_counter(), cpu_s()
        run(base_url, Path(source), Path(output), mode)
        wall, used = perf_counter() - since, cpu_s() - cpu
    with Path(output).open("rb") as lines:
        rows = sum(1 for _ in lines)
    print(json.dumps(attrs.asdict(Measured(rows, wall, used, resident))))
