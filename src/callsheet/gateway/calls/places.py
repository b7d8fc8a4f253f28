"""The places in line, and the responses, of calls whose clients went away. Pure (R14).

An SDK that gives up on a call after its time-out sends the same call again, up to 120 seconds
later. Without a memory, the second call would wait from the end of the line. The place of the first
one is remembered, not its work: that ended with its client (R4). A response that was complete when
the client left is kept, so that it is not bought twice.

A place is taken once. So two identical calls of one client never share a response (L6).
"""

import hashlib
from collections import OrderedDict, deque
from typing import final

import attrs

REMEMBERED_S = 130.0
"""Seconds for which a place is remembered. SDKs wait at most 120 s before they repeat a call."""

_MAX_PLACES = 100_000
_MAX_BYTES = 64 * 1024 * 1024  # of responses


@attrs.frozen
class LeftPlace:
    """What a call leaves behind when its client goes away.

    Args:
        came: when the call joined the line, on Trio's clock.
        left: when its client went away, on the same clock.
        answer: the response, if it was complete by then; None if it was not.
    """

    came: float
    left: float
    answer: "KeptAnswer | None" = None


@attrs.frozen
class KeptAnswer:
    """A whole response that its client did not receive.

    Args:
        headers: the headers of the response.
        body: the JSON text.
    """

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def place_key(key: str, path: str, body: bytes) -> bytes:
    """Return what a call and its repetition have in common.

    Args:
        key: the id of the client's API key.
        path: the path of the endpoint.
        body: the bytes of the request body.
    """
    digest = hashlib.blake2b(body, digest_size=16)
    digest.update(f"\0{key}\0{path}".encode(errors="surrogatepass"))
    return digest.digest()


@final
class LeftPlaces:
    """The places that clients have left, each for `REMEMBERED_S` seconds.

    Beyond 100,000 places, or 64 MiB of responses, the oldest are forgotten.
    """

    def __init__(self) -> None:
        self._left: OrderedDict[bytes, deque[LeftPlace]] = OrderedDict()  # the oldest key first
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        """Return the number of places."""
        return self._count

    def leave(self, key: bytes, place: LeftPlace) -> None:
        """Remember a place.

        Args:
            key: the key of the call; see `place_key`.
            place: what it leaves behind.
        """
        self._forget_old(place.left)
        self._left.setdefault(key, deque()).append(place)
        self._left.move_to_end(key)
        self._count += 1
        self._bytes += _size(place)
        while self._count > _MAX_PLACES or self._bytes > _MAX_BYTES:
            self._drop(next(iter(self._left)))

    def take(self, key: bytes, now: float) -> LeftPlace | None:
        """Return the first place that was left by such a call, and forget it; None if none was.

        Args:
            key: the key of the call that comes again.
            now: the time on Trio's clock.
        """
        self._forget_old(now)
        while key in self._left:
            place = self._drop(key)
            if now - place.left <= REMEMBERED_S:
                return place
        return None

    def _forget_old(self, now: float) -> None:
        """Forget places that are too old. A key is as old as its latest place."""
        while self._left:
            key, places = next(iter(self._left.items()))
            if now - places[-1].left <= REMEMBERED_S:
                return
            while key in self._left:
                self._drop(key)

    def _drop(self, key: bytes) -> LeftPlace:
        places = self._left[key]
        place = places.popleft()
        if not places:
            del self._left[key]
        self._count -= 1
        self._bytes -= _size(place)
        return place


def _size(place: LeftPlace) -> int:
    return 0 if place.answer is None else len(place.answer.body)
