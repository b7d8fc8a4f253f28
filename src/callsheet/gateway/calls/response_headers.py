"""The headers of a response: what happened to the call, and the client's own limits. Pure (R14)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from ...actors import Dimension, LaneShare, Response
from ..errors import Refusal
from ..keys import OwnLimit, OwnLimits

Headers = list[tuple[bytes, bytes]]
DialectVendor = Literal["openai", "anthropic"]

_MAX_VALUE = 1000
_UNSAFE = re.compile(rb"[^ -~]")
_DAY_S = 86400.0
_JSON = (b"content-type", b"application/json")
STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx holds a response back otherwise
)
_ID_NAMES: Mapping[DialectVendor, bytes] = {"openai": b"x-request-id", "anthropic": b"request-id"}


def head_of(vendor: DialectVendor, request_id: str) -> Headers:
    """Return the headers of every response.

    Args:
        vendor: whose SDK the client uses, which reads the id from a header of its own.
        request_id: the id of the request.
    """
    return [(_ID_NAMES[vendor], _ascii(request_id))]


def json_headers(body: bytes) -> Headers:
    """Return the headers of a JSON body.

    Args:
        body: the JSON text.
    """
    return [_JSON, (b"content-length", b"%d" % len(body))]


def of_response(response: Response) -> Headers:
    """Return what happened to a call: its cost, route, wait, attempts and more.

    Args:
        response: the response to the call.
    """
    found: dict[str, str] = {
        "route": _route_of(response),
        "model": response.model,
        "cache": "hit" if response.route == "cache" else "miss",
        "attempts": str(response.http_requests),
        "queue-seconds": f"{response.queued_s:.3f}",
        "provider-request-id": response.request_id,
    }
    if response.cost_usd is not None:  # an unknown cost stays unknown (L13)
        found["cost-usd"] = f"{response.cost_usd:f}"
    if response.maybe_billed:
        found["maybe-billed"] = str(response.maybe_billed)
    if response.fallback:
        found["fallback"] = str(response.fallback)
    return [
        (f"x-callsheet-{name}".encode(), _ascii(value)) for name, value in found.items() if value
    ]


def _route_of(response: Response) -> str:
    """Return how a call was served; a client may have asked for the flex tier itself."""
    is_flex = response.route == "live" and response.tier == "flex"
    return "flex" if is_flex else response.route


def comment_of(response: Response) -> bytes:
    """Return the same as a comment at the end of a stream, whose headers are sent before.

    Args:
        response: the complete response to the call.
    """
    members = b" ".join(
        name.removeprefix(b"x-callsheet-") + b"=" + value.replace(b" ", b"_")
        for name, value in of_response(response)
    )
    return b": callsheet " + members + b"\n\n"


def of_refusal(refusal: Refusal) -> Headers:
    """Return the headers that tell an SDK whether and when to send the call again.

    Args:
        refusal: why the call is refused.
    """
    headers: Headers = []
    if refusal.retry_after_s is not None:
        seconds = max(0.0, refusal.retry_after_s)
        headers.append((b"retry-after", b"%d" % -(-seconds // 1)))
        headers.append((b"retry-after-ms", b"%d" % -(-seconds * 1000 // 1)))
    if refusal.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if refusal.should_retry else b"false"))
    return headers


def limits_of_client(own: OwnLimits, share: LaneShare) -> OwnLimits:
    """Return the limits that hold for a client: those of its key, else its share of the provider's.

    Args:
        own: the limits of its key.
        share: the part of the provider's limits that its lane has.
    """
    return OwnLimits(own.requests or _part(share, "requests"), own.tokens or _part(share, "tokens"))


def _part(share: LaneShare, dimension: Dimension) -> OwnLimit | None:
    part = share.of(dimension)
    return None if part is None else OwnLimit(part.limit, part.remaining, part.reset_s)


def of_limits(vendor: DialectVendor, limits: OwnLimits, wall_clock: datetime) -> Headers:
    """Return the limits of a client in the words of a vendor.

    Args:
        vendor: whose SDK the client uses.
        limits: the limits that hold for the client.
        wall_clock: the time now, for instants in headers.
    """
    headers: Headers = []
    for kind, state in (("requests", limits.requests), ("tokens", limits.tokens)):
        if state is None:
            continue
        values = {"limit": _whole(state.limit), "remaining": _whole(state.remaining)}
        if vendor == "openai":
            values["reset"] = _duration(state.reset_s)
            named = {f"x-ratelimit-{what}-{kind}": text for what, text in values.items()}
        else:
            instant = wall_clock + timedelta(seconds=min(state.reset_s, _DAY_S))
            values["reset"] = f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
            named = {f"anthropic-ratelimit-{kind}-{what}": text for what, text in values.items()}
        headers += [(name.encode(), text.encode()) for name, text in named.items()]
    return headers


def _whole(amount: float) -> str:
    return str(max(0, int(amount)))


def _duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it, such as "12ms", "1.5s" or "6m0s"."""
    if seconds < 1:
        return f"{-(-max(0.0, seconds) * 1000 // 1):.0f}ms"
    minutes, rest = divmod(Decimal(f"{seconds:.3f}"), 60)
    text = f"{rest.normalize():f}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:.0f}h{minutes:.0f}m{text}"
    return f"{minutes:.0f}m{text}" if minutes else text


def _ascii(text: str) -> bytes:
    """Return the value of a header: visible ASCII, so that no text of a provider can end it."""
    return _UNSAFE.sub(b"?", text[:_MAX_VALUE].encode("ascii", "replace"))
