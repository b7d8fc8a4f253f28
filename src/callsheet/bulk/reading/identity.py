"""Give each row of an input a unique custom id and a unique key.

Rows with the same key have the same response, in any run. Ids and keys that were seen are compared
on disk, so memory does not grow with the input.

A key is a digest of the whole row, followed by short checksums of the parts of its request, by
which a later run tells why a row has changed. A store has them without a column of their own. Two
requests with different checksums differ in that part; the reverse is true but for one pair in
65,536.
"""

import hashlib
import json
import re
import sqlite3
import struct
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from operator import attrgetter
from typing import cast, final
from uuid import UUID
from zlib import crc32

import orjson

from ...actors import ChatMessage, Request, kind_of
from ..row import Row
from .errors import BadRecord, RepeatedId

USUAL_IDS = ("custom_id", "id")
_LONGEST = 512
_MADE = re.compile(r"row-([1-9][0-9]{0,17})", re.ASCII)
_CACHE_KIB = 1024

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


def given_id(columns: Mapping[str, object], name: str | None) -> str | None:
    """Return the custom id of a record; None if it has none.

    Args:
        columns: the values of the record by column.
        name: the column of the id; None for the usual names, "" if no column has ids.

    Raises:
        BadRecord: the id is neither text nor an integer, or the record has no such column.
    """
    if name == "":
        return None
    if name is None:
        for usual in USUAL_IDS:
            if usual in columns:
                name = usual
                break
        else:
            return None
    elif name not in columns:
        raise BadRecord(f'the row has no "{name}", the column of the id', is_misfit=True)
    value = columns[name]
    if value is None or value == "" or value != value:  # noqa: PLR0124  # pandas writes NaN
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas has no whole numbers in a column with an empty cell
    if type(value) is int or isinstance(value, Decimal | UUID | date):
        return str(value)
    if not isinstance(value, str):
        reason = f'"{name}" must be a string or an integer, not {kind_of(value)}'
        raise BadRecord(reason, is_misfit=True)
    if len(value) > _LONGEST:
        reason = f'"{name}" has {len(value):,} characters; an id may have {_LONGEST}'
        raise BadRecord(reason, is_misfit=True)
    return value


class Identities:
    """Makes the rows of one input, each with a unique custom id and key.

    A row without an id is named after its number, but its key depends on its content and on the
    number of earlier identical rows. So its response is found again when other rows are inserted or
    removed.
    """

    def __init__(self) -> None:
        self._seen = Seen()
        self._parts = PartSums()
        self._made = bytearray()  # a bit for each row that is named after its number
        self._has_lookalikes = False  # an id in the input has the form of a made one

    def row(self, number: int, custom_id: str | None, url: str, request: Request) -> Row:
        """Make the row of a request.

        Args:
            number: the number of the line or record.
            custom_id: the custom id of the record; None for none.
            url: the path of the request.
            request: the request of the row.

        Raises:
            BadRecord: another row has the same id.
        """
        try:
            if custom_id is None:
                custom_id = self._make_id(number)
                key = self._key_by_content(number, url, request)
            else:
                self._claim(number, custom_id)
                key = row_key(custom_id, url, request)
            key += self._parts.of(url, request)
        except ValueError as error:
            raise BadRecord(str(error)) from None
        return Row(number=number, custom_id=custom_id, request=request, key=key, url=url)

    def close(self) -> None:
        """Release the temporary file."""
        self._seen.close()

    def _claim(self, number: int, custom_id: str) -> None:
        if custom_id.startswith("row-") and (made := _MADE.fullmatch(custom_id)):
            self._has_lookalikes = True
            if self._was_made(int(made[1])):
                raise _taken(custom_id, int(made[1]))
        first = self._seen.first(_digest(custom_id), number)
        if first is not None:
            raise _taken(custom_id, first)

    def _make_id(self, number: int) -> str:
        custom_id = f"row-{number}"
        if self._has_lookalikes:
            first = self._seen.get(_digest(custom_id))
            if first is not None:
                raise _taken(custom_id, first)
        byte, bit = divmod(number, 8)
        if byte >= len(self._made):
            self._made.extend(bytes(byte + 1))
        self._made[byte] |= 1 << bit
        return custom_id

    def _was_made(self, number: int) -> bool:
        byte, bit = divmod(number, 8)
        return byte < len(self._made) and bool(self._made[byte] >> bit & 1)

    def _key_by_content(self, number: int, url: str, request: Request) -> bytes:
        key = row_key(0, url, request)
        digest = key[:8]
        if self._seen.first(digest, number) is None:
            return key
        return row_key(self._seen.again(digest), url, request)


def _digest(custom_id: str) -> bytes:
    return hashlib.blake2b(custom_id.encode(errors="replace"), digest_size=8).digest()


def _taken(custom_id: str, first: int) -> RepeatedId:
    return RepeatedId(f"row {first} has the id {kind_of(custom_id)} already; ids must be unique")


def row_key(name: str | int, url: str, request: Request) -> bytes:
    """Return a digest of the name, the path and the whole request of a row.

    It does not depend on the order of members, on the notation of numbers in known fields, or on
    unset fields: a new field of `Request` changes no key. It is the same in every version, because
    a run may be continued with a later version; a test has examples.

    Args:
        name: the custom id; for a row without one, the number of earlier identical rows.
        url: the path of the request.
        request: the request of the row.

    Raises:
        ValueError: `extra_body` is nested too deeply.
    """
    return hashlib.blake2b(
        canonical([name, url, _asked(request)]), digest_size=WHOLE_BYTES
    ).digest()


def _said(message: ChatMessage) -> list[object]:
    return [
        *(message.role, message.content),
        *([message.extra] if message.extra else ()),
        *([[message.native]] if message.native else ()),
    ]


def _asked(request: Request) -> dict[str, object]:
    asked: dict[str, object] = {"model": request.model}
    if request.messages:
        asked["messages"] = [
            [message.role, message.content]
            if not message.extra and not message.native
            else _said(message)
            for message in request.messages
        ]
    else:
        asked["inputs"] = list(request.inputs)
    if request.max_tokens is not None:
        asked["max_tokens"] = request.max_tokens
    if request.temperature is not None:
        asked["temperature"] = float(request.temperature)
    if request.top_p is not None:
        asked["top_p"] = float(request.top_p)
    if request.n > 1:
        asked["n"] = request.n
    if request.stop:
        asked["stop"] = list(request.stop)
    if request.seed is not None:
        asked["seed"] = request.seed
    if request.json_schema is not None:
        asked["json_schema"] = request.json_schema
    if request.returns is not None and request.output_schema is not None:
        asked["returns"] = [request.output_schema.name, request.output_schema.schema]
    if request.dimensions is not None:
        asked["dimensions"] = request.dimensions
    further = {"extra": request.extra_body, "headers": request.extra_headers}
    return asked | {name: value for name, value in further.items() if value}


@final
class Seen:
    """Digests of 64 bits, each with the number of the row that it was first seen in.

    They are in a temporary file, which the system removes with the process. Only digests are
    compared:
    among a million rows, two different ones collide with a probability of 1 in 40 million. Any
    thread may use it, one at a time.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        columns = "digest INTEGER PRIMARY KEY, number INTEGER, again INTEGER DEFAULT 0"
        self._db.execute(f"CREATE TABLE seen ({columns})")
        self._db.execute("BEGIN")  # never committed: the file is temporary

    def first(self, digest: bytes, number: int) -> int | None:
        """Record a digest; return the row that it was first seen in, or None if it is new.

        Args:
            digest: 8 bytes.
            number: the number of this row.
        """
        insert = "INSERT OR IGNORE INTO seen (digest, number) VALUES (?, ?)"
        if self._db.execute(insert, (_whole(digest), number)).rowcount:
            return None
        return self.get(digest)

    def get(self, digest: bytes) -> int | None:
        """Return the number of the row that a digest was first seen in; None if it is new."""
        return self._ask("SELECT number FROM seen WHERE digest = ?", digest)

    def again(self, digest: bytes) -> int:
        """Count and return how often a digest was seen after the first time, this time included."""
        update = "UPDATE seen SET again = again + 1 WHERE digest = ? RETURNING again"
        return self._ask(update, digest) or 0

    def close(self) -> None:
        """Close the temporary file."""
        self._db.close()

    def _ask(self, question: str, digest: bytes) -> int | None:
        row = self._db.execute(question, (_whole(digest),)).fetchone()
        return None if row is None else cast("int", row[0])


def _whole(digest: bytes) -> int:
    return int.from_bytes(digest, "little", signed=True)


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
            prompt = _sum([[_message_parts(it) for it in messages], list(request.inputs)])
        if request.extra_body or request.extra_headers or request.json_schema is not None:
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
            return _sum(_message_parts(message)) & _SHORT
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
        *([request.extra_headers] if request.extra_headers else ()),
    ]
    return _sum(request.model) & _SHORT, _sum(schema) & _SHORT, _sum(rest) & _SHORT


def _message_parts(message: ChatMessage) -> list[object]:
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
