"""Compare a call with the bare pools: CPU time and rate over real sockets, and instructions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from bench_kit.figures import Figure
from http_bench.cells import open_provider
from http_bench.contenders import BARE, LLHTTP, OURS
from http_bench.instructions import can_count, count_instructions
from http_bench.targets import FEW, MANY, SUBJECTS
from http_bench.windows import Window, measure_windows

__all__ = ["compare"]

_ALL = (OURS, BARE, LLHTTP)
_AT_MOST = {FEW: 1.3, MANY: 1.2}  # {calls in flight: CPU time beside h11}
_INSTRUCTIONS_AT_MOST = 1.2
_RATE_AT_LEAST = 0.85


@attrs.frozen
class _Case:
    subject: str
    title: str
    has_targets: bool = True


_CASES = (
    _Case("waiting", "short answer, requested whole", has_targets=False),
    _Case("stream", "stream in one segment"),
    _Case("segments", "stream in ten segments"),
)


def compare(rounds: int, say: Callable[[str], None]) -> Iterator[Figure]:
    """Measure, and return the figures. It takes about eight minutes with ten rounds.

    Args:
        rounds: windows of each contender.
        say: gets what is measured next.
    """
    for case in _CASES:
        for in_flight in (FEW, MANY):
            say(f"CPU time, {case.title}, {in_flight:,} in flight ...")
            yield from _window_figures(case, in_flight, _windows(case, in_flight, rounds))
    for case in _CASES if can_count() else ():
        say(f"instructions, {case.title} ...")
        yield from _instruction_figures(case)


def _windows(case: _Case, in_flight: int, rounds: int) -> Mapping[str, Sequence[Window]]:
    with TemporaryDirectory() as folder, open_provider(case.subject, Path(folder)) as provider:
        is_long = SUBJECTS[case.subject].is_long
        return measure_windows(
            provider.base_url, _ALL, in_flight=in_flight, is_long=is_long, rounds=rounds
        )


def _window_figures(
    case: _Case, in_flight: int, windows: Mapping[str, Sequence[Window]]
) -> Iterator[Figure]:
    for name in (BARE, LLHTTP):
        has_target = case.has_targets and name == BARE
        yield Figure(
            f"CPU per call, {case.title}, {in_flight:,} in flight",
            "ms",
            [window.cpu_ms for window in windows[OURS]],
            name,
            [window.cpu_ms for window in windows[name]],
            at_most=_AT_MOST[in_flight] if has_target else None,
        )
    if in_flight == FEW:
        yield Figure(
            f"calls/s, {case.title}, {in_flight:,} in flight",
            "/s",
            [window.per_s for window in windows[OURS]],
            BARE,
            [window.per_s for window in windows[BARE]],
            at_least=_RATE_AT_LEAST,
        )


def _instruction_figures(case: _Case) -> Iterator[Figure]:
    is_long = SUBJECTS[case.subject].is_long
    in_segments = SUBJECTS[case.subject].gap_ms is not None
    counts = {
        name: count_instructions(name, is_long=is_long, in_segments=in_segments) / 1_000
        for name in _ALL
    }
    for name in (BARE, LLHTTP):
        has_target = in_segments and name == BARE
        yield Figure(
            f"instructions per call, {case.title}",
            "k",
            [counts[OURS]],
            name,
            [counts[name]],
            at_most=_INSTRUCTIONS_AT_MOST if has_target else None,
        )
