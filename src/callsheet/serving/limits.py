"""What one client, and all of them together, may take of a server."""

import logging
import sys
from contextlib import suppress
from typing import Final, final

import attrs

from ..actors import ge, gt, instance_of

LOG = logging.getLogger("callsheet.serving")
FILES_BESIDE_CLIENTS: Final = 256
"""Open files that a server needs for other things than its clients, such as its own calls."""


@final
@attrs.frozen(kw_only=True)
class ServingLimits:
    """Bounds on clients. A client that breaks one is refused or cut, and delays no other.

    Args:
        max_connections: how many clients may be connected at a time. Further ones are answered
            with status 503 and `Retry-After`, and still further ones are closed at once.
        max_header_bytes: the largest head of a request, in bytes; a larger one has status 431.
        max_body_bytes: the largest body of a request, in bytes; a larger one has status 413.
        header_timeout_s: seconds from the first byte of a head, and for the handshake of TLS, until
            it must be complete.
        body_timeout_s: seconds that a request may keep its handler waiting for its body, in all.
        min_body_rate: the least speed of a body, in bytes a second, after `header_timeout_s`.
        write_timeout_s: seconds after which a client is cut that takes nothing of its response.
        keep_alive_s: seconds that a connection may be idle. Longer than clients keep theirs, so
            that it is not closed at the moment at which a client uses it again.
        linger_s: seconds for which a connection that the server ends still takes what its client
            sends, so that the client can read the end of its response.
    """

    max_connections: int = attrs.field(default=10_000, validator=[instance_of(int), ge(1)])
    max_header_bytes: int = attrs.field(default=64 * 1024, validator=[instance_of(int), ge(1024)])
    max_body_bytes: int = attrs.field(default=32 * 1024 * 1024, validator=[instance_of(int), ge(1)])
    header_timeout_s: float = attrs.field(default=20.0, validator=gt(0.0))
    body_timeout_s: float = attrs.field(default=300.0, validator=gt(0.0))
    min_body_rate: float = attrs.field(default=1000.0, validator=gt(0.0))
    write_timeout_s: float = attrs.field(default=30.0, validator=gt(0.0))
    keep_alive_s: float = attrs.field(default=75.0, validator=gt(0.0))
    linger_s: float = attrs.field(default=2.0, validator=ge(0.0))


def allowed_connections(wanted: int) -> int:
    """Allow this process as many open files as its connections need, and return their number.

    Args:
        wanted: how many clients may be connected at a time.

    Returns:
        `wanted`, or fewer if the operating system allows no more; a warning says so.
    """
    if sys.platform == "win32":  # it has no such limit
        return wanted
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    useful = min(2 * wanted + FILES_BESIDE_CLIENTS, most)  # a request may need a call of its own
    if soft != resource.RLIM_INFINITY and soft < useful:
        with suppress(OSError, ValueError):  # some systems allow less than their limit says
            resource.setrlimit(resource.RLIMIT_NOFILE, (useful, hard))
            soft = useful
    is_endless = soft == resource.RLIM_INFINITY
    allowed = wanted if is_endless else max(1, min(wanted, soft - FILES_BESIDE_CLIENTS))
    if allowed < wanted:
        LOG.warning(
            "this process may have %d open files, which is enough for %d connections of %d; "
            "raise the limit (ulimit -n, or LimitNOFILE= of systemd) to %d",
            *(soft, allowed, wanted, wanted + FILES_BESIDE_CLIENTS),
        )
    return allowed
