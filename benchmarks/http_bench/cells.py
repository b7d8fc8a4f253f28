"""Measure the cells: the providers keep running, and each cell has its own client process."""

import json
import subprocess
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from bench_kit.processes import module_command, module_environment, run_module
from http_bench.contenders import BARE, OURS
from http_bench.meter import Sample
from http_bench.targets import SUBJECTS, Cell

__all__ = ["Failure", "measure", "open_provider"]

_TIMEOUT_S = 90.0  # of a cell; a loop that is busy with its pool cannot end the window itself
_WARM_UP_S = 5.0
_WARM_UP_OF_QUICK_S = 30.0  # the cells need all calls in flight, and take far less time
_STOP_S = 5.0
_CA, _SERVER = "ca.pem", "server.pem"


@attrs.frozen
class Failure:
    """A cell without a sample, and the reason."""

    cell: Cell
    why: str


@attrs.frozen
class Provider:
    """A running provider."""

    base_url: str
    pid: int
    ca: str | None


def measure(
    cells: Sequence[Cell], window_s: float, say: Callable[[Cell], None]
) -> Iterator[tuple[Cell, Sample | Failure]]:
    """Measure one cell after another.

    Args:
        cells: the cells to measure, in order.
        window_s: length of the window of each cell, in seconds.
        say: gets each cell before it is measured.

    Raises:
        RuntimeError: a provider did not start; its errors are on stderr.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        subjects = {cell.subject for cell in cells}
        if any(SUBJECTS[subject].is_encrypted for subject in subjects):
            _make_certificates(folder)
        providers = {
            subject: stack.enter_context(open_provider(subject, folder)) for subject in subjects
        }
        for cell in cells:
            say(cell)
            yield cell, _measure(cell, providers[cell.subject], window_s)


def _measure(cell: Cell, provider: Provider, window_s: float) -> Sample | Failure:
    is_quick = cell.contender in (OURS, BARE) or SUBJECTS[cell.subject].holds
    options: dict[str, str | float] = {
        "--in-flight": cell.in_flight,
        "--provider": provider.pid,
        "--seconds": window_s,
        "--warm-up": _WARM_UP_OF_QUICK_S if is_quick else _WARM_UP_S,
    }
    if provider.ca is not None:
        options["--ca"] = provider.ca
    words = [str(word) for option in options.items() for word in option]
    try:
        printed = run_module(
            "http_bench.client", cell.contender, provider.base_url, *words, timeout_s=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return Failure(cell, f"not finished in {_TIMEOUT_S:g} s")
    except subprocess.CalledProcessError as error:
        return Failure(cell, f"exited with status {error.returncode}; its errors are above")
    return Sample(**json.loads(printed))


@contextmanager
def open_provider(subject: str, folder: Path) -> Generator[Provider]:
    """Run a provider while the block runs.

    Args:
        subject: a key of `SUBJECTS`.
        folder: contains the certificates, if it needs some.

    Raises:
        RuntimeError: it did not start; its errors are on stderr.
    """
    about = SUBJECTS[subject]
    words, ca = ["--latency-ms", f"{about.latency_ms:g}"], None
    if about.holds:
        words.append("--holds")
    if about.gap_ms is not None:
        words += ["--gap-ms", f"{about.gap_ms:g}"]
    if about.is_encrypted:
        ca = str(folder / _CA)
        words += ["--tls", str(folder / _SERVER)]
    with subprocess.Popen(
        module_command("http_bench.provider", *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=module_environment(),
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("stdin and stdout must be pipes")
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError(
                f"the provider exited with status {process.wait()}; its errors are above"
            )
        scheme = "http" if ca is None else "https"
        try:
            yield Provider(f"{scheme}://127.0.0.1:{port}/v1", process.pid, ca)
        finally:
            process.stdin.close()  # the provider then exits
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _make_certificates(folder: Path) -> None:
    """Write the certificate of an authority, and the key and certificate of a server."""
    authority = import_module("trustme").CA()
    authority.cert_pem.write_to_path(folder / _CA)
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / _SERVER)
