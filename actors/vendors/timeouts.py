"""The longest times of one send to a provider."""

import attrs
from attrs.validators import gt


@attrs.frozen(kw_only=True)
class Timeouts:
    """The longest times of one send to a provider; the deadline limits the total (L1).

    Args:
        connect_s: seconds until the connection is established.
        first_byte_s: seconds from the end of the request to the first byte of the response, and
            from there to its first text. A model may reason in silence for this long.
        between_bytes_s: seconds between two pieces of the response after that. Blank lines,
            comments and pings are no pieces.
        write_s: seconds between two chunks of the request.
        send_s: seconds from the permit of the send to the end of the response. A send that takes
            longer may be billed, and is not repeated.

    Raises:
        ValueError: a value is not above 0; the message names it.
    """

    connect_s: float = attrs.field(default=10.0, validator=gt(0))
    first_byte_s: float = attrs.field(default=600.0, validator=gt(0))
    between_bytes_s: float = attrs.field(default=120.0, validator=gt(0))
    write_s: float = attrs.field(default=30.0, validator=gt(0))
    send_s: float = attrs.field(default=600.0, validator=gt(0))

    @property
    def by_httpx_name(self) -> dict[str, float | None]:
        """The timeouts as the request extension of httpx and `LeanTransport`."""
        return {
            "connect": self.connect_s,
            "read": self.first_byte_s,
            "between": self.between_bytes_s,  # LeanTransport's
            "write": self.write_s,
            "pool": None,  # the deadline counts the wait
        }
