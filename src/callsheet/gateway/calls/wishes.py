"""What the headers of a call ask for: patience, a deadline, no cached response. Pure (R14)."""

from collections.abc import Mapping
from math import inf, isfinite

import attrs

from ...actors import Vendor
from ..errors import InvalidBody

PATIENCE_HEADER = "x-callsheet-patience"
DEADLINE_HEADER = "x-callsheet-deadline"
_READ_TIMEOUT = "x-stainless-read-timeout"
_RETRY_COUNT = "x-stainless-retry-count"
_FEATURES: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("anthropic-beta", "anthropic-version"),
    "openai": ("openai-beta",),
}
_MAX_S = 7 * 86400.0


@attrs.frozen(kw_only=True)
class Wishes:
    """What a client wants for one call.

    Args:
        patience_s: seconds that the call may wait for its turn; infinity for no limit.
        deadline_s: seconds within which the response is needed, so that a cheaper route may be
            taken; None for as soon as possible.
        may_read_cache: whether a cached response will do.
        is_repeated: whether the SDK says that it sends the call again.
    """

    patience_s: float
    deadline_s: float | None = None
    may_read_cache: bool = True
    is_repeated: bool = False


def read_wishes(headers: Mapping[str, str], *, is_streamed: bool, usual_s: float) -> Wishes:
    """Read the headers of a call.

    A whole response is silent until it is complete, and balancers cut silent connections. So its
    patience is the least of the setting, the header, and what the SDK says of its own time-out. The
    comments in a stream keep the connection open; only the header limits its patience. A call with
    a deadline has no limit of patience beside it.

    Args:
        headers: the headers of the request, by names in lower case.
        is_streamed: whether the client wants a stream.
        usual_s: the patience of whole responses without a wish, in seconds.

    Raises:
        InvalidBody: one of our headers is no number of seconds.
    """
    asked_s = _seconds(headers, PATIENCE_HEADER)
    deadline_s = _seconds(headers, DEADLINE_HEADER)
    if deadline_s is not None and deadline_s <= 0:
        raise InvalidBody(f"the header {DEADLINE_HEADER} must be above 0", param=DEADLINE_HEADER)
    patience_s = inf if asked_s is None else asked_s
    if deadline_s is not None:
        patience_s = inf  # the deadline bounds the whole call, which may wait for a batch first
    elif not is_streamed:
        patience_s = min(patience_s, usual_s, _read_timeout(headers))
    return Wishes(
        patience_s=patience_s,
        deadline_s=deadline_s,
        may_read_cache=not _forbids_cache(headers.get("cache-control", "")),
        is_repeated=headers.get(_RETRY_COUNT, "0").strip() not in ("", "0"),
    )


def features_in(headers: Mapping[str, str], vendor: Vendor) -> dict[str, str]:
    """Return the headers that choose features of the provider's API, and that go on to it (L15).

    Args:
        headers: the headers of the request, by names in lower case.
        vendor: the vendor that gets them; others do not have these features.
    """
    return {
        name: headers[name]
        for name in _FEATURES.get(vendor.name, ())
        if name in headers and headers[name] != vendor.headers.get(name)
    }


def _seconds(headers: Mapping[str, str], name: str) -> float | None:
    given = headers.get(name)
    if given is None:
        return None
    seconds = _number(given)
    if seconds is None or not 0 <= seconds <= _MAX_S:
        text = (
            f"the header {name} must be a number of seconds up to {_MAX_S:.0f}, not {given!r:.40}"
        )
        raise InvalidBody(text, param=name)
    return seconds


def _read_timeout(headers: Mapping[str, str]) -> float:
    """Return the time-out of the SDK; infinity if it has none, or says so in another form."""
    seconds = _number(headers.get(_READ_TIMEOUT, ""))
    return inf if seconds is None or seconds <= 0 else seconds


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _forbids_cache(control: str) -> bool:
    words = {word.strip().lower() for word in control.split(",")}
    return not words.isdisjoint(("no-cache", "no-store"))
