"""Endpoints that cost nothing: those on this machine, as the built-in provider. Pure (R14)."""

import ipaddress
from urllib.parse import urlsplit


def is_simulated(endpoint: str) -> bool:
    """Return whether an endpoint is on this machine, so that its costs are not real.

    Args:
        endpoint: a host, with or without a port and the name of a key, as in `CostLabel.endpoint`.
    """
    where = endpoint.split(" ", 1)[0]
    try:
        address = ipaddress.ip_address(urlsplit(f"//{where}").hostname or "")
        inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any(one.is_loopback or one.is_unspecified for one in (address, inner or address))
    except ValueError:
        name = where.rsplit(":", 1)[0].lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
