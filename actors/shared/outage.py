"""What a process does while the server of its shared stores is away."""

from typing import Literal

Outage = Literal["divide", "wait"]
"""Go on with a part of each limit, as many processes as there were; or wait for the server."""
