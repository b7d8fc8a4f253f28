"""Reads the limits that providers report in headers and in the text of a refusal. Pure (R14).

Sources: docs/providers.md, limits and headers of OpenAI, Anthropic and others; for gateways,
draft-ietf-httpapi-ratelimit-headers, whose versions differ. A header states a period only by a word
in its name (``-day``), or by the parameter ``w``; otherwise `LimitEvidence` infers it.
OpenAI's refusals contain "Limit L, Used U, Requested R. Please try again in X". For a bucket with a
period of P, X = (U + R - L) P / L, so that P follows from X even if the text names another period.
"""

import re
from collections.abc import Iterator, Mapping
from math import isfinite

import attrs

from ..http import duration_s
from ..permit import Dimension, Report, Reported
from .resets import NO_RESET, read_reset

REFUSAL = "the text of a refusal"
"""The source of a report that was read from a refusal, not from a header."""

_REFUSAL_PERIODS = (60.0, 86_400.0, 1.0, 3_600.0, 2_592_000.0)
_NAME = re.compile(r"(?P<of>x-|anthropic-|)(?P<what>ratelimit|rate-limit|tokenlimit)(?P<rest>-.*|)")
_FIELDS = ("limit", "remaining", "reset")
_PERIODS = {
    word: seconds
    for words, seconds in (
        ("second sec", 1.0),
        ("minute min", 60.0),
        ("hour", 3_600.0),
        ("day daily", 86_400.0),
        ("week", 604_800.0),
        ("month", 2_592_000.0),
    )
    for word in words.split()
}
_COUNTED: dict[str, str] = {
    word: what
    for words, what in (
        ("request requests req reqs", "requests"),
        ("token tokens", "tokens"),
        ("input prompt", "input"),
        ("output completion generated", "output"),
        ("concurrent concurrency inflight", "in_flight"),
    )
    for word in words.split()
}
_IGNORED = {"per", "project", "dynamic"}  # words that do not change what is counted
_DIMENSIONS: dict[tuple[str, ...], Reported] = {  # {words of a name, sorted: what it limits}
    (): "requests",
    ("requests",): "requests",
    ("tokens",): "tokens",
    ("input", "tokens"): "input_tokens",
    ("output", "tokens"): "output_tokens",
    ("in_flight",): "in_flight",
    ("in_flight", "requests"): "in_flight",
}
_UNITS: dict[str, Reported] = {  # {unit of a policy: what it limits}
    "requests": "requests",
    "tokens": "tokens",
    "concurrent-requests": "in_flight",
}
_ROUNDED_TO = 1000.0  # Anthropic rounds what remains of tokens
_REFUSED = re.compile(
    r"\b(?P<what>requests|tokens)\b[^:]{0,60}:\s*Limit:?\s*(?P<limit>\d+),\s*Used:?\s*(?P<used>\d+),"
    r"\s*Requested:?\s*(?P<requested>\d+)",
    re.IGNORECASE,
)
_CONCURRENCY = re.compile(
    r"\bconcurrency(?: limit)?(?: of| is|:)? *(\d+)\b|\b(\d+) concurrent (?:requests|calls)\b",
    re.IGNORECASE,
)
_REFUSAL_OFF = 0.1  # of a usual period: the wait is rounded
_WAIT = re.compile(r"try again in ([0-9.hms]+[hms])")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
_LIST = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')  # commas outside quotes


def read_reports(headers: Mapping[str, str]) -> tuple[Report, ...]:
    """Read the limits in the headers of a response; headers that make no sense are ignored.

    Args:
        headers: {name in lower case: value}, with the response's own ``date``.
    """
    families: dict[tuple[str, ...], _Family] = {}
    for name, value in headers.items():
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        words = found["rest"].replace("_", "-").split("-")[1:]
        fields = [word for word in words if word in _FIELDS]
        if len(fields) != 1:
            continue
        others = tuple(word for word in words if word not in (*_FIELDS, "after", "ms"))
        family = families.setdefault((found["of"], found["what"], *others), _Family(others))
        if fields[0] == "limit":
            family.name = name
        family.values[fields[0]] = value
        family.is_ms |= "ms" in words
    date = headers.get("date", "")
    reports = (family.report(date) for family in families.values())
    return (*(report for report in reports if report is not None), *_ietf_reports(headers))


@attrs.define
class _Family:
    """The headers of one limit.

    Args:
        words: the words of their names that tell what is limited.
        name: the name of the header that has the limit.
        values: {"limit", "remaining" or "reset": value}.
        is_ms: whether the reset is in milliseconds.
    """

    words: tuple[str, ...]
    name: str = ""
    values: dict[str, str] = attrs.field(factory=dict[str, str])
    is_ms: bool = False

    def report(self, date: str) -> Report | None:
        """Return the report; None if something is missing or makes no sense.

        Args:
            date: the date of the response.
        """
        dimension = self._dimension()
        if dimension is None or not self.name:
            return None
        text = self.values["limit"]
        limit, remaining = _first_number(text), _first_number(self.values.get("remaining", ""))
        # Azure sends values that do not meet this.
        if limit is None or remaining is None or not 0 <= remaining <= limit or limit <= 0:
            return None
        used = limit - remaining
        reset = read_reset(self.values.get("reset", ""), date, is_ms=self.is_ms)
        if reset.seconds == 0 and used > 0:
            reset = NO_RESET  # it is not full: the header does not tell
        is_anthropic = self.name.startswith("anthropic-")
        return Report(
            dimension,
            limit,
            used,
            self._period_s(text, limit),
            reset.seconds,
            grain_s=reset.grain_s,
            rounding=_ROUNDED_TO if is_anthropic and "tokens" in self.words else 1.0,
            usual_s=60.0 if is_anthropic else None,
            source=self.name,
        )

    def _dimension(self) -> Reported | None:
        words = [_COUNTED.get(word, word) for word in self.words if word not in _PERIODS]
        words = [word for word in words if word not in _IGNORED]
        if self.name.startswith("anthropic-") and words == ["tokens"]:
            return None  # the sum of the other two, or the stricter one of them
        if self.name.startswith("x-tokenlimit"):
            words.append("tokens")
        return _DIMENSIONS.get(tuple(sorted(set(words))))

    def _period_s(self, limit_text: str, limit: float) -> float | None:
        """Return the period by a word of the name, or by ``w`` as in ``100, 100;w=60``."""
        for word in self.words:
            if word in _PERIODS:
                return _PERIODS[word]
        for item in _LIST.split(limit_text):
            quota, _, parameters = item.partition(";")
            window = _number(_parameters(parameters).get("w"))
            if window and _number(quota) == limit:
                return window
        return None


def _ietf_reports(headers: Mapping[str, str]) -> Iterator[Report]:
    """Read `RateLimit` and `RateLimit-Policy`, in the newest form and in the one before it."""
    policies = dict(_items(headers.get("ratelimit-policy", "")))
    for name, values in _items(headers.get("ratelimit", "")):
        policy = policies.get(name, {})
        limit = _number(policy.get("q") or values.get("limit"))
        left = _number(values.get("r") or values.get("remaining"))
        dimension = _UNITS.get(policy.get("qu", "requests"))
        if dimension is None or limit is None or left is None or not 0 <= left <= limit:
            continue
        if limit <= 0:
            continue
        # The older form has the quota as the name of its policy: 100;w=60
        window = _number(policy.get("w") or policies.get(f"{limit:g}", {}).get("w"))
        reset, more = _number(values.get("reset")), _number(values.get("t"))
        yield Report(
            dimension,
            limit,
            limit - left,
            window or None,
            reset if reset or left == limit else None,
            grain_s=1.0,
            source=f"ratelimit {name}".strip(),
            more_s=more,
        )


def _items(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Split a list such as ``"burst";r=50;t=30, "daily";r=9`` into names and parameters.

    The older form ``limit=100, remaining=50, reset=30`` is one item without a name.
    """
    parts = [part.strip() for part in _LIST.split(text) if part.strip()]
    if parts and all("=" in part.partition(";")[0] for part in parts):
        yield "", _parameters(";".join(parts))
        return
    for part in parts:
        name, _, parameters = part.partition(";")
        yield name.strip().strip('"'), _parameters(parameters)


def _parameters(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def read_refusal(message: str) -> Report | None:
    """Read the limit that a refusal names; None if it names none.

    Args:
        message: the text of the error.
    """
    found = _REFUSED.search(message)
    if found is None:
        return _refused_concurrency(message)
    limit, used, requested = (_number(found[name]) for name in ("limit", "used", "requested"))
    if not limit or used is None or requested is None:
        return None
    over = used + requested - limit
    words = _WAIT.search(message)
    wait = None if words is None else duration_s(words[1])
    dimension: Dimension = "requests" if found["what"].lower() == "requests" else "tokens"
    period = _refused_period(limit, over, wait) if wait and over > 0 else None
    return Report(dimension, limit, min(used, limit), period, source=REFUSAL)


def _refused_period(limit: float, over: float, wait: float) -> float:
    period = wait * limit / over
    usual = min(_REFUSAL_PERIODS, key=lambda one: abs(one - period))
    return usual if abs(usual - period) <= _REFUSAL_OFF * usual else period


def _refused_concurrency(message: str) -> Report | None:
    """Read "max organization concurrency: 3" (Moonshot), "limit of 5 concurrent requests"."""
    found = _CONCURRENCY.search(message)
    limit = None if found is None else _number(found[1] or found[2])
    return Report("in_flight", limit, 0.0, source=REFUSAL) if limit else None


def _first_number(text: str) -> float | None:
    """Return the first number of a list such as ``100, 100;w=60``; ``20,000`` is one number."""
    groups = text.strip().split(",")
    if _THOUSANDS.fullmatch(text.strip()) and len(set(groups)) > 1:  # 100,100 is a list
        return _number("".join(groups))
    return _number(re.split("[;,]", text)[0])


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) else None
