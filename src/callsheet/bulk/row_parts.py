"""Short checksums of the parts of a request, by which a later run tells why a row has changed.

They follow the digest of the whole row in its key (`Row.key`), so a store has them without a column
of their own. Two requests with different checksums differ in that part; the reverse is true but for
one pair in 65,536.
"""

import json
import struct
from collections.abc import Callable
from operator import attrgetter
from typing import final
from zlib import crc32

import orjson

from ..actors import ChatMessage, Request

WHOLE_BYTES = 16
"""The bytes of the digest of a whole row, at the beginning of its key."""

ROW_PARTS = ("prompt", "system message", "model", "schema", "parameters")
"""The parts of a request, in the order of their checksums."""

_SUMS = struct.Struct("<IHHHH")  # the prompt's also finds rows whose id has changed
_SHORT = 0xFFFF
_SYSTEM = ("system", "developer")
_MAX_ALIKE = 256  # then the caches are cleared: the rows differ in a seed, for example
_shape: Callable[[Request], tuple[object, ...]] = attrgetter(
    "model", "task", "max_tokens", "temperature", "top_p", "n", "stop", "seed", "dimensions",
    "returns",
)  # fmt: skip


@final
class PartSums:
    """Computes the checksums of rows; most rows differ in their prompts alone.

    One thread may use it at a time.
    """

    def __init__(self) -> None:
        self._alike: dict[tuple[object, ...], tuple[int, int, int]] = {}
        self._systems: dict[str, int] = {}

    def of(self, url: str, request: Request) -> bytes:
        """Return the checksums of a request.

        Args:
            url: the path of the request.
            request: the request of a row.
        """
        messages = request.messages
        system = 0
        if messages and (first := messages[0]).role in _SYSTEM:
            is_plain = not first.extra and not first.native
            found = self._systems.get(first.content) if is_plain else None
            system = self._system(first) if found is None else found
            messages = messages[1:]
        if len(messages) == 1 and not messages[0].extra and not messages[0].native:
            prompt = crc32(messages[0].content.encode(errors="replace"))
        else:
            prompt = _sum([[_said(it) for it in messages], list(request.inputs)])
        if request.extra_body or request.json_schema is not None:
            return _SUMS.pack(prompt, system, *_sums_alike(url, request))
        shape = (url, *_shape(request))
        alike = self._alike.get(shape)
        if alike is None:
            if len(self._alike) >= _MAX_ALIKE:
                self._alike.clear()
            alike = self._alike[shape] = _sums_alike(url, request)
        return _SUMS.pack(prompt, system, *alike)

    def _system(self, message: ChatMessage) -> int:
        if message.extra or message.native:
            return _sum(_said(message)) & _SHORT
        if len(self._systems) >= _MAX_ALIKE:
            self._systems.clear()
        found = crc32(message.content.encode(errors="replace")) & _SHORT
        self._systems[message.content] = found
        return found


def changed_parts(before: bytes, now: bytes) -> tuple[str, ...] | None:
    """Return the parts in which two rows differ; None if a key has no checksums. Pure (R14).

    Args:
        before: the key of a row.
        now: the key of another one.
    """
    size = WHOLE_BYTES + _SUMS.size
    if len(before) != size or len(now) != size:
        return None
    both = (_SUMS.unpack_from(key, WHOLE_BYTES) for key in (before, now))
    return tuple(part for part, old, new in zip(ROW_PARTS, *both, strict=True) if old != new)


def _sums_alike(url: str, request: Request) -> tuple[int, int, int]:
    """Return the checksums of the model, the schema and the parameters."""
    schema: list[object] = [request.json_schema, None]
    if request.returns is not None and request.output_schema is not None:
        schema[1] = [request.output_schema.name, request.output_schema.schema]
    rest: list[object] = [
        url,
        request.max_tokens,
        *(None if it is None else float(it) for it in (request.temperature, request.top_p)),
        request.n,
        list(request.stop),
        request.seed,
        request.dimensions,
        request.extra_body or None,
    ]
    return _sum(request.model) & _SHORT, _sum(schema) & _SHORT, _sum(rest) & _SHORT


def _said(message: ChatMessage) -> list[object]:
    return [message.role, message.content, message.extra or None, message.native or None]


def _sum(value: list[object] | str) -> int:
    return crc32(canonical(value))


def canonical(value: list[object] | str) -> bytes:
    """Return a value as JSON, which does not depend on the order of members.

    Raises:
        ValueError: it is nested too deeply.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, deep nesting
        pass
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except RecursionError:
        raise ValueError("the request is nested too deeply") from None
    return text.encode(errors="replace")
