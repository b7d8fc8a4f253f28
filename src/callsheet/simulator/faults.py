"""Faults on demand: by a rate for all requests, or by a header for one."""

import math
import random
from collections.abc import Mapping
from typing import cast

import attrs
from attrs.validators import optional

from .validation import instance_of, number, one_of

FAULT_KINDS = {
    "401": "the key is invalid",
    "429": "the rate limit is exceeded",
    "quota": "a 429 because no credit is left; a retry fails as well",
    "500": "a server error",
    "503": "the server is overloaded",
    "529": "the server is overloaded; Anthropic's status",
    "reset": "the connection is reset before the response",
    "lost": "the work is done, but the connection is reset; no response",
    "reset_body": "the connection is reset after half of the body",
    "stall": "the request is accepted, but no response is sent",
    "truncate": "half of the body: the connection ends before the body does",
    "cut": "half of the body, ended correctly; a stream lacks its end",
    "error_event": "an error event after half of a stream, or an error in a 200",
    "no_usage": "a complete response without its token usage",
    "malformed": "a 200 with an HTML page or truncated JSON as its body",
    "slow": "the body is sent in small pieces, with a pause after each",
    "gzip": "the body is compressed with gzip, even if the client refuses it",
}

REFUSALS = frozenset({"401", "429", "quota", "500", "503", "529"})
"""The faults that are immediate error responses."""


def _known(kind: str) -> str:
    if not isinstance(kind, str) or kind not in FAULT_KINDS:  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise ValueError(f"unknown fault {kind!r}; known are {', '.join(FAULT_KINDS)}")
    return kind


@attrs.frozen
class Fault:
    """One fault for one request.

    Args:
        kind: one of `FAULT_KINDS`.
        retry_after: the seconds in the `retry-after` header of a 429, 503 or 529; None for no
            header.
        body: the body of a malformed response: an HTML page ("html"), or truncated JSON ("json").
        after: True if a call that controls files or batches is refused only after its work is done,
            as by a gateway that has lost the response.
    """

    kind: str = attrs.field(converter=_known)
    retry_after: int | None = attrs.field(
        default=None, validator=optional(number(whole=True, least=0))
    )
    body: str = attrs.field(default="html", validator=one_of(("html", "json")))
    after: bool = attrs.field(default=False, validator=instance_of(bool))

    @classmethod
    def parse(cls, text: str) -> "Fault | None":
        """Parse the header's value: "500", "429; retry-after=2", "malformed; body=json", or "ok".

        A call that controls files or batches may have "503; after=work", too.

        Args:
            text: the value of the header.

        Raises:
            ValueError: the fault or the option is unknown; the text lists the known ones.
        """
        kind, *options = (part.strip() for part in text.split(";"))
        if kind == "ok":
            return None
        fault = cls(kind)
        for option in options:
            name, _, value = option.partition("=")
            match name.strip():
                case "retry-after" if value.strip().isdecimal():
                    fault = attrs.evolve(fault, retry_after=int(value))
                case "body" if value.strip() in ("html", "json"):
                    fault = attrs.evolve(fault, body=value.strip())
                case "after" if value.strip() == "work":
                    fault = attrs.evolve(fault, after=True)
                case _:
                    raise ValueError(
                        f"unknown option {option!r} of fault {kind!r}; known are "
                        "retry-after=SECONDS, after=work and body=html or body=json"
                    )
        return fault


def _rates(rates: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(cast("object", rates), Mapping):
        raise TypeError(f"rates must be a mapping, not {rates!r:.60}")
    for kind, rate in rates.items():
        _known(kind)
        if not isinstance(cast("object", rate), int | float):
            raise TypeError(f"rate of fault {kind!r} must be a number, not {rate!r:.60}")
        if not 0 <= rate <= 1:
            raise ValueError(f"rate of fault {kind!r} must be between 0 and 1, got {rate}")
    if math.fsum(rates.values()) > 1:
        raise ValueError("the rates of all faults together must be at most 1")
    return dict(rates)


@attrs.frozen
class Faults:
    """The rate of each fault.

    Args:
        rates: {kind of fault: share of requests, 0 to 1}; at most 1 in total.
        stall_s: seconds after which a stalled connection is dropped; by default it never is.
        slow_gap_s: seconds between two pieces of a slow body.

    Raises:
        ValueError: a fault is unknown, or a rate is out of range.
    """

    rates: Mapping[str, float] = attrs.field(factory=dict[str, float], converter=_rates)
    stall_s: float = attrs.field(default=math.inf, validator=number(above=0))
    slow_gap_s: float = attrs.field(default=0.5, validator=number(above=0))

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Parse "429=0.1,500=0.05"; the empty text means no faults.

        Args:
            text: a comma-separated list of FAULT=RATE.

        Raises:
            ValueError: the list is invalid, or a fault is unknown; the text names it.
        """
        rates: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            kind, equals, rate = (piece.strip() for piece in part.partition("="))
            _known(kind)
            try:
                rates[kind] = float(rate)
            except ValueError:
                raise ValueError(
                    f"fault {kind!r} needs a rate between 0 and 1 as in {kind}=0.1, "
                    f"got {equals + rate!r}"
                ) from None
        return cls(rates)

    def draw(self, chance: random.Random) -> Fault | None:
        """Return the fault of the next request, or None; takes one draw from `chance` (R13)."""
        point = chance.random()
        for kind, rate in self.rates.items():
            if point < rate:
                # The rest of the draw is uniform in [0, rate): it selects the body.
                return Fault(kind, body="html" if point < rate / 2 else "json")
            point -= rate
        return None
