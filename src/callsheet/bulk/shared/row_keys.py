"""The keys by which the rows of a shared run are known in its queue.

A key is the same in a later run of the same command, so that this finds what an earlier one has
paid for; and while two calls of a run ask for the same, their keys differ.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import final

import attrs

from ...actors import CallContext, Complete
from .queue import QueuedRow
from .wire import encode_call

_REPAIR = ".repair"  # ends the id of a second call for a valid result


@final
class RowKeys:
    """The keys of calls that arrive at the stage of the holder soon."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}  # {id of a call: key of its row}

    def __repr__(self) -> str:
        return f"<RowKeys of {len(self._keys)} calls>"

    def name(self, call: str, key: str) -> None:
        """Name the row of the next call with an id.

        Args:
            call: the id of the call.
            key: what identifies its row in this run and in later ones.
        """
        self._keys[call] = key

    def forget(self, call: str) -> None:
        """Forget the key of a call that did not arrive, such as one that the cache answers.

        Args:
            call: the id of the call.
        """
        self._keys.pop(call, None)

    def row_of(self, message: Complete, is_open: Callable[[str], bool]) -> tuple[QueuedRow, str]:
        """Return a call as a row of the queue, and the name by which its answer is claimed.

        The second request for a valid result has no key of its own: it is known by what it says.

        Args:
            message: the call, as it arrives at the stage.
            is_open: returns whether a call waits for the answer to a row, by the key of the row.

        Raises:
            UnsendableRow: a part of the request is not JSON.
        """
        request, context = message.request, message.context
        name = context.call
        key = self._keys.pop(name, None)
        if key is None:
            name = name.removesuffix(_REPAIR)
            said = encode_call(attrs.evolve(request, deadline=None), CallContext(name))
            key = _digest(said)
        while is_open(key):
            key += "+"
        run_key: str | None = None
        if request.task == "chat" and not (request.packable or request.idempotency_key):
            # One for all workers that send the row in this run, if it is sent alone.
            # Also if it comes back because its worker has ended: that may have sent it.
            first, _, rounds = key.partition(".")
            sent_as = first if rounds.isdigit() else key
            run_key = _digest(f"{context.lane}/{sent_as}".encode())
        body = encode_call(request, context, idempotency_key=run_key, is_restricted=False)
        return QueuedRow(key, body), name


def _digest(value: bytes) -> str:
    return blake2b(value, digest_size=16).hexdigest()
