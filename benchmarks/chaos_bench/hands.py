"""Which rows a worker has in hand by the queue on the server, without code of the product."""

import json
import re
from typing import cast

from shared_bench.server import PrivateServer

__all__ = ["is_open", "rows_in_hand", "workers_known"]

_GROUP = "workers"


def is_open(server: PrivateServer) -> bool:
    """Return whether the one run is there, and its workers take rows.

    Args:
        server: the server, which must answer.
    """
    keys: list[str] = json.loads(server.cli("--json", "KEYS", "callsheet:run:*:card"))
    return bool(keys) and server.cli("HGET", keys[0], "state").strip() == "running"


def workers_known(server: PrivateServer) -> int:
    """Return how many workers the one run has, the holder's own included; 0 without a run.

    Args:
        server: the server, which must answer.
    """
    keys: list[str] = json.loads(server.cli("--json", "KEYS", "callsheet:run:*:leases"))
    return int(server.cli("ZCARD", keys[0])) if keys else 0


def rows_in_hand(server: PrivateServer, pid: int) -> int:
    """Return how many rows of the one run a process has taken and not answered.

    Args:
        server: the server, which must answer.
        pid: the process; the name of a worker contains it.

    Raises:
        RuntimeError: the server does not say it.
    """
    streams: list[str] = json.loads(server.cli("--json", "KEYS", "callsheet:run:*:rows"))
    if not streams:  # all rows have their answers
        return 0
    reply: object = json.loads(server.cli("--json", "XPENDING", streams[0], _GROUP))
    if not isinstance(reply, list):
        raise RuntimeError(  # noqa: TRY004  # no mistake of the caller
            f"the server does not say what is in hand: {reply}"
        )
    consumers = cast("list[list[tuple[str, str]]]", reply)[3] or []
    return sum(int(count) for name, count in consumers if str(pid) in re.findall(r"\d+", name))
