"""The places of a prompt at which a beginning that other prompts share may end. Pure (R14).

A place stands for everything before it: it has a hash of the endpoint, the model, the tools, the
schema of the output and the messages up to there. Two prompts have a place in common if, and only
if, they are the same up to that place.

A place is after the tools, after a message or a part of one, or within a text: a template writes
the shared instruction and the text that differs into one string. Places within texts are at fixed
distances from the start of the prompt, so that prompts with one beginning have the same ones.
"""

import sys
from collections.abc import Mapping
from hashlib import blake2b
from typing import final

import attrs

from ..chat_message import ChatMessage
from ..json_value import Json
from ..messages import Request
from ..vendors import dumps
from .marks import PromptPlace

_MARKS = ("cache_control", "prompt_cache_breakpoint")
_STEP_CHARS = 1024  # between two places in a text
_STEP_SHARE = 8  # of a long beginning, an eighth may be missed
_BYTES_OF_ATTACHMENT = 3060  # 765 tokens, as the limiter estimates them
_LONG = 10_000  # characters of an image or a file; it takes 10 ms to hash 5 MB
_TTL_S = {"1h": 3600.0, "5m": 300.0, "30m": 1800.0, "12h": 43_200.0, "24h": 86_400.0}
# Members of the body that do not change what a provider caches.
_BESIDES = frozenset(
    {
        *("user", "metadata", "safety_identifier", "service_tier", "serviceTier", "store"),
        *("prompt_cache_retention", "logprobs", "top_logprobs", "verbosity", "cache_control"),
    }
)


@attrs.frozen
class HashedPlace:
    """A place in one prompt.

    Args:
        key: the hash of everything before it.
        size: the bytes of the text before it; an attachment counts as many as its tokens.
        where: the place in the messages of the request.
        block: how many blocks, such as messages and parts of them, are before it.
        mark_s: seconds for which a mark of the user's has the provider keep the beginning; 0 for
            the provider's usual time, None without a mark.
    """

    key: bytes = attrs.field(repr=False)
    size: int
    where: PromptPlace
    block: int
    mark_s: float | None = None

    @property
    def is_cut(self) -> bool:
        """Whether it is within a text, which a mark there cuts into two."""
        return self.where.chars is not None


@attrs.frozen
class PromptPlaces:
    """The places of one prompt, and what else is known of it.

    Args:
        places: the places in their order; the last one is the end of the prompt.
        origin: the hash of the first part of the prompt, which is the same for all prompts that
            share a beginning.
        leading: how many of the places are in the tools and the first system messages.
        is_dialogue: whether the model has answered before.
        is_marked: whether the user has set marks that these places show.
    """

    places: tuple[HashedPlace, ...]
    origin: bytes = attrs.field(repr=False)
    leading: int = 0
    is_dialogue: bool = False
    is_marked: bool = False


def most_bytes(request: Request) -> int:
    """Return how many bytes the prompt of a chat has at most; found without reading the texts.

    Args:
        request: the request to send.
    """
    size = sum([_most_bytes(message.content) for message in request.messages])
    for message in request.messages:
        if message.extra is not None or message.native is not None:
            size += _most_bytes(message.extra) + _most_bytes(message.native)
            size += message.attachments * _BYTES_OF_ATTACHMENT
    for tool in request.tools:
        size += _most_bytes(tool.told)
    return size


def count_parts(request: Request) -> int:
    """Return how many parts the prompt of a chat has, tools included.

    Args:
        request: the request to send.
    """
    parts = len(request.tools) + len(request.messages)
    for message in request.messages:
        for members in (message.extra, message.native):
            if members is not None and isinstance(content := members.get("content"), list | tuple):
                parts += len(content)
    return parts


def _most_bytes(value: Json | Mapping[str, Json]) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else 4 * len(value)  # `isascii` reads a flag
    if isinstance(value, Mapping):
        return sum([len(str(name)) + 8 + _most_bytes(it) for name, it in value.items()])
    if isinstance(value, list | tuple):
        return sum([1 + _most_bytes(it) for it in value])
    return 24  # a number has no more digits


def read_places(request: Request, scope: str, first: int) -> PromptPlaces:
    """Return the places of the prompt of a chat.

    Args:
        request: the request to send.
        scope: the identity of the endpoint, and what else tells its caches apart.
        first: the characters of the part of the prompt that decides on its key. The first place
            within a text is after twice as many.

    Raises:
        TypeError, ValueError: a value cannot be written as JSON.
    """
    reader = _PlaceReader(_header(request, scope), first)
    reader.read_tools(request)
    is_leading, is_dialogue, leading = True, False, len(reader.places)
    for at, message in enumerate(request.messages):
        is_leading = is_leading and message.role in ("system", "developer")
        is_dialogue = is_dialogue or message.role == "assistant"
        reader.read(at, message)
        if is_leading:
            leading = len(reader.places)
    places = reader.places
    if (mark := request.extra_body.get("cache_control")) and places:  # Anthropic's, for the end
        places[-1] = attrs.evolve(places[-1], mark_s=_life_s(mark))
    return PromptPlaces(
        tuple(places),
        reader.origin or (places[0].key if places else b""),
        leading,
        is_dialogue,
        any(place.mark_s is not None for place in places),
    )


def _header(request: Request, scope: str) -> bytes:
    """Return what a cache depends on besides the messages."""
    output = request.output_schema
    extra = request.extra_body
    return dumps(
        {
            "scope": scope,
            "model": request.model,
            "api": request.api,
            "choice": request.tool_choice,
            "schema": None if output is None else [output.name, dict(output.schema)],
            "extra": {name: extra[name] for name in sorted(extra) if name not in _BESIDES},
        }
    )


@final
class _PlaceReader:
    """Reads the places of one prompt from its start to its end.

    Args:
        header: what the cache depends on besides the messages.
        first: the characters of the first part; see `read_places`.
    """

    def __init__(self, header: bytes, first: int) -> None:
        self._digest = blake2b(header, digest_size=16)
        self._next_at = first
        self._chars = self._size = self._blocks = 0
        self.places: list[HashedPlace] = []
        self.origin = b""

    def read_tools(self, request: Request) -> None:
        """Read the definitions of the tools, which are before all messages."""
        if not request.tools:
            return
        definitions = [tool.definition or {} for tool in request.tools]
        for tool in request.tools:
            self._feed(dumps(_unmarked(tool.told)))
        self._end_block(PromptPlace(-1), _mark_of(definitions[-1]))

    def read(self, at: int, message: ChatMessage) -> None:
        """Read a message.

        Args:
            at: the index of the message in the request.
            message: the message with its role.
        """
        self._digest.update(b"\x1f%s\x1f" % message.role.encode())
        extra = message.extra
        if extra is None and message.native is None:
            self._read_text(message.content, PromptPlace(at))
            self._end_block(PromptPlace(at))
            return
        body = message.body if message.native is None else {**message.body, **message.native}
        content = body.pop("content", None)
        mark, others = _mark_of(body), _unmarked(body)
        del others["role"]
        if others:
            self._feed(dumps(others))
        if not isinstance(content, list):
            if isinstance(content, str):
                self._read_text(content, PromptPlace(at))
            elif content is not None:
                self._feed(dumps({"content": content}))
            self._end_block(PromptPlace(at), mark)
            return
        is_user = message.role in ("system", "developer", "user") and message.native is None
        for number, part in enumerate(content):
            is_last = number == len(content) - 1
            where = PromptPlace(at, number) if is_user or not is_last else PromptPlace(at)
            self._read_part(part, where)
            found = _mark_of(part) if isinstance(part, dict) else None
            self._end_block(where, mark if is_last and found is None else found)
        if not content:
            self._end_block(PromptPlace(at), mark)

    def _read_part(self, part: Json, where: PromptPlace) -> None:
        if not isinstance(part, dict):
            self._feed(dumps({"part": part}))
            return
        text = part.get("text")
        if isinstance(text, str):
            others = {name: it for name, it in part.items() if name not in ("text", *_MARKS)}
            if others != {"type": "text"}:  # a message of one such part is as good as a string
                self._feed(dumps(others))
            self._read_text(text, where)
            return
        written = dumps(_unmarked(part, _LONG))
        self._digest.update(written)
        is_attachment = ChatMessage("user", "", extra={"content": [part]}).attachments
        counted = _BYTES_OF_ATTACHMENT if is_attachment else len(written)
        self._chars += counted
        self._size += counted

    def _read_text(self, text: str, where: PromptPlace) -> None:
        """Read a text, and add the places within it."""
        done, begin = 0, self._chars
        self._chars = end = begin + len(text)
        while self._next_at <= end:
            at = max(0, self._next_at - begin)
            if not self.origin:
                self._next_at *= 2
                self._update(text[:at])
                self.origin, done = self._digest.copy().digest(), at
                continue
            self._next_at += max(_STEP_CHARS, self._next_at // _STEP_SHARE)
            cut = max(text.rfind("\n", done, at), text.rfind(" ", done, at)) + 1 or at
            if done < cut < len(text):
                self._update(text[done:cut])
                done = cut
                self._add(PromptPlace(where.message, where.part, cut))
        self._update(text[done:] if done else text)

    def _update(self, text: str) -> None:
        written = text.encode("utf-8", "surrogatepass")
        self._digest.update(written)
        self._size += len(written)

    def _feed(self, written: bytes) -> None:
        self._digest.update(written)
        self._size += len(written)
        self._chars += len(written)

    def _end_block(self, where: PromptPlace, mark_s: float | None = None) -> None:
        self._digest.update(b"\x1e")
        self._blocks += 1
        self._add(where, mark_s)

    def _add(self, where: PromptPlace, mark_s: float | None = None) -> None:
        place = HashedPlace(self._digest.copy().digest(), self._size, where, self._blocks, mark_s)
        self.places.append(place)


def _unmarked(members: Mapping[str, Json], longest: int = sys.maxsize) -> dict[str, Json]:
    """Return an object without marks, which move from one turn of a dialogue to the next.

    Args:
        members: the members of the object, by their names.
        longest: characters above which samples of a text stand for it.
    """
    return {
        name: _value_unmarked(value, longest)
        for name, value in members.items()
        if name not in _MARKS
    }


def _value_unmarked(value: Json, longest: int) -> Json:
    if isinstance(value, dict):
        return _unmarked(value, longest)
    if isinstance(value, list):
        return [_value_unmarked(one, longest) for one in value]
    if isinstance(value, str) and len(value) > longest:
        return f"{len(value)} {value[:1000]} {value[:: len(value) // 1000]} {value[-1000:]}"
    return value


def _mark_of(members: Mapping[str, Json]) -> float | None:
    """Return the seconds of the mark in a part, a message or a tool; None without a mark."""
    mark = next((members[name] for name in _MARKS if members.get(name)), None)
    return None if mark is None else _life_s(mark)


def _life_s(mark: Json) -> float:
    ttl = mark.get("ttl") if isinstance(mark, dict) else None
    return _TTL_S.get(ttl, 0.0) if isinstance(ttl, str) else 0.0
