"""The targets, and the cells that each target needs."""

from collections.abc import Callable, Mapping, Sequence

import attrs

from bench_kit.figures import Figure
from http_bench.contenders import BARE, HTTPX, OPENAI, OURS
from http_bench.meter import Sample

__all__ = [
    "BOUND_AT",
    "FEW",
    "MANY",
    "SUBJECTS",
    "Cell",
    "Samples",
    "Subject",
    "added_ms",
    "judge",
    "needed",
]

BOUND_AT = 0.9  # share of a core from which the provider may bound the rate
_LATENCY_MS = 50.0
_QUIET_MS = 1_000.0
_GAP_MS = 10.0
_PACE_MS = 20.0
FEW, MANY, _MOST = 100, 1_000, 2_000
_IDEAL_OF_FEW = FEW / _LATENCY_MS * 1_000  # calls/s


@attrs.frozen
class Subject:
    """A kind of provider.

    Args:
        latency_ms: milliseconds until it responds.
        is_encrypted: whether it uses TLS, with a certificate that the client verifies.
        in_flight: the numbers of concurrent calls to measure with.
        holds: whether it sends all responses together, after `latency_ms` without a new request.
        is_long: whether the requests allow long responses, which Callsheet requests as streams.
        gap_ms: milliseconds between the segments of a stream; None for streams in one segment.
    """

    latency_ms: float
    is_encrypted: bool
    in_flight: Sequence[int]
    holds: bool = False
    is_long: bool = False
    gap_ms: float | None = None

    @property
    def title(self) -> str:
        """The title for the table."""
        kind = "holds answers" if self.holds else f"{self.latency_ms:g} ms"
        pace = "" if self.gap_ms is None else " in segments"
        stream = f", stream{pace}" if self.is_long else ""
        return f"{kind}{stream}{', TLS' if self.is_encrypted else ''}"


_ALL = (1, 10, FEW, MANY, _MOST)
SUBJECTS: Mapping[str, Subject] = {
    "waiting": Subject(_LATENCY_MS, is_encrypted=False, in_flight=_ALL),
    "instant": Subject(0.0, is_encrypted=False, in_flight=_ALL),
    "stream": Subject(_LATENCY_MS, is_encrypted=False, in_flight=(), is_long=True),
    "segments": Subject(
        _LATENCY_MS, is_encrypted=False, in_flight=(), is_long=True, gap_ms=_GAP_MS
    ),
    "paced": Subject(_LATENCY_MS, is_encrypted=False, in_flight=(), is_long=True, gap_ms=_PACE_MS),
    "tls": Subject(_LATENCY_MS, is_encrypted=True, in_flight=(FEW, MANY, _MOST)),
    "held": Subject(_QUIET_MS, is_encrypted=False, in_flight=(_MOST,), holds=True),
    "held-tls": Subject(_QUIET_MS, is_encrypted=True, in_flight=(_MOST,), holds=True),
}


@attrs.frozen
class Cell:
    """One measurement: a provider, a number of concurrent calls, and a contender."""

    subject: str
    in_flight: int
    contender: str


Samples = Mapping[Cell, Sequence[Sample]]


def _per_s(sample: Sample) -> float:
    return sample.calls / sample.wall_s


def _share(sample: Sample) -> float:
    return _per_s(sample) / _IDEAL_OF_FEW


def added_ms(sample: Sample) -> float:
    """Return the milliseconds that the client adds to the provider's latency."""
    return sample.p50_s * 1_000 - _LATENCY_MS


def _cpu_ms(sample: Sample) -> float:
    return sample.cpu_s / sample.calls * 1_000


def _kib_of(in_flight: int) -> Callable[[Sample], float]:
    return lambda sample: (sample.busy_bytes - sample.idle_bytes) / in_flight / 1_024


@attrs.frozen(kw_only=True)
class _Goal:
    """One line of the table of targets; the fields are those of `Figure`.

    Args:
        value: computes the value of a sample.
        ours: the cell of the figure.
        beside: the cell of the baseline.
        is_of_memory: whether the value is of memory, for which the provider's load does not matter.
    """

    name: str
    unit: str
    value: Callable[[Sample], float]
    ours: Cell
    beside: Cell | None = None
    beside_name: str = ""
    at_most: float | None = None
    at_least: float | None = None
    is_ratio: bool = True
    is_of_memory: bool = False

    @property
    def cells(self) -> list[Cell]:
        """The cells to measure."""
        return [self.ours] if self.beside is None else [self.ours, self.beside]

    @property
    def has_target(self) -> bool:
        """Whether there is a target."""
        return self.at_most is not None or self.at_least is not None


def _rate(rival: str, at_least: float | None = None) -> _Goal:
    return _Goal(
        name=f"calls/s, {MANY:,} in flight, 50 ms",
        unit="/s",
        value=_per_s,
        ours=Cell("waiting", MANY, OURS),
        beside=Cell("waiting", MANY, rival),
        beside_name=rival,
        at_least=at_least,
    )


def _cpu(subject: str, in_flight: int) -> _Goal:
    over = " over TLS" if SUBJECTS[subject].is_encrypted else ""
    return _Goal(
        name=f"CPU per call{over}, {in_flight:,} in flight",
        unit="ms",
        value=_cpu_ms,
        ours=Cell(subject, in_flight, OURS),
        beside=Cell(subject, in_flight, BARE),
        beside_name=BARE,
    )


def _growth(subject: str, at_most: float | None = None) -> _Goal:
    over = " over TLS" if SUBJECTS[subject].is_encrypted else ""
    return _Goal(
        name=f"CPU per call{over}, {_MOST:,} in flight",
        unit="ms",
        value=_cpu_ms,
        ours=Cell(subject, _MOST, OURS),
        beside=Cell(subject, FEW, OURS),
        beside_name=f"ours at {FEW}",
        at_most=at_most,
    )


def _memory(subject: str) -> _Goal:
    over = " over TLS" if SUBJECTS[subject].is_encrypted else ""
    return _Goal(
        name=f"memory per call in flight{over}, {_MOST:,} of them",
        unit="KiB",
        value=_kib_of(_MOST),
        ours=Cell(subject, _MOST, OURS),
        at_most=40.0,
        is_ratio=False,
        is_of_memory=True,
    )


_FEW_OF_OURS = Cell("waiting", FEW, OURS)
_GOALS = (
    _rate(HTTPX, at_least=3.0),
    _rate(OPENAI, at_least=10.0),
    _rate("aiohttp"),
    _Goal(
        name=f"share of the ideal {_IDEAL_OF_FEW:,.0f} calls/s, {FEW} in flight, 50 ms",
        unit="",
        value=_share,
        ours=_FEW_OF_OURS,
        at_least=0.85,
        is_ratio=False,
    ),
    _Goal(
        name=f"added to the provider's 50 ms at p50, {FEW} in flight",
        unit="ms",
        value=added_ms,
        ours=_FEW_OF_OURS,
        at_most=5.0,
        is_ratio=False,
    ),
    _cpu("tls", FEW),
    _cpu("tls", MANY),
    _growth("waiting"),
    _growth("tls", at_most=1.3),
    _memory("held"),
    _memory("held-tls"),
)


def needed() -> set[Cell]:
    """Return the cells that targets need."""
    return {cell for goal in _GOALS if goal.has_target for cell in goal.cells}


def judge(samples: Samples) -> list[Figure]:
    """Return the figures whose cells have samples."""
    return [
        _figure(goal, samples) for goal in _GOALS if all(samples.get(cell) for cell in goal.cells)
    ]


def _figure(goal: _Goal, samples: Samples) -> Figure:
    # Cells that no target needs are measured once, in the first round.
    rounds = min(len(samples[cell]) for cell in goal.cells)
    ours, *beside = ([*samples[cell][:rounds]] for cell in goal.cells)
    return Figure(
        goal.name,
        goal.unit,
        [goal.value(sample) for sample in ours],
        goal.beside_name,
        [goal.value(sample) for sample in beside[0]] if beside else [],
        at_most=goal.at_most,
        at_least=goal.at_least,
        is_ratio=goal.is_ratio,
        why_invalid=_why_invalid(goal, ours, beside[0] if beside else []),
    )


def _why_invalid(goal: _Goal, ours: Sequence[Sample], beside: Sequence[Sample]) -> str:
    # Failed calls of the baseline do not matter: only its successful calls count.
    if any(sample.failures for sample in ours):
        return "calls failed"
    if not all(sample.is_warm for sample in ours):
        return "not warm"
    if goal.is_of_memory and any(0 < one.open_files < goal.ours.in_flight for one in ours):
        return "not all in flight"
    if not goal.is_of_memory and any(one.provider_share > BOUND_AT for one in [*ours, *beside]):
        return "provider-bound"
    return ""
