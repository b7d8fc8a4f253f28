"""Packing: many small items under one instruction, asked in one structured call.

An instruction that is sent with every item is paid for with every item. Packed, it is paid for
once. A model may answer otherwise when it sees many items at a time, so a request has to allow it
(`Request.packable`), some items are asked alone as well, and where too few of the answers agree
packing ends.

Whether answers out of a combined call are what the members would have got alone. Pure (R14).
"""

import json
from collections.abc import Callable, Hashable, Sequence
from typing import cast, final

import attrs
from attrs.validators import ge, gt, instance_of, le

from ..messages import ChatMessage, Choice, Json, Request, Response
from ..vendors import BatchLimits, BatchWeight
from .strategy import common_key

__all__ = [
    "Agreement",
    "AgreementStatistics",
    "Packing",
    "answers_agree",
]


_NOTE = """\
The user sends a JSON array of items, each with an id and a text. Follow the instruction above for \
each item by itself, as if it were the only one. Answer with one object for each id: the id, and \
the answer to that item."""

_TOKENS_AROUND = 16  # of an item's answer: braces, names, id
_TOKENS_ALL = 16  # around all of them

_MORE_THAN_TEXT = frozenset(
    {"tools", "functions", "logprobs", "modalities", "audio", "web_search_options"}
)
"""Members of a body whose answer is more than its text, of which a pack has only that."""


@attrs.frozen(kw_only=True)
class Packing:
    """Sends many small items as one call (see `Strategy`).

    It takes chats that are declared `packable`, begin with a system turn and end with a user turn:
    the item. Whatever is before that is the instruction, and must be the same.

    Args:
        max_items: items in a call at most. Models grow careless with many.
        max_tokens: tokens of all items of a call at most.
        max_item_tokens: tokens of one item; a longer one is sent alone, because it saves little.
        check_share: the share of items that are asked alone as well, whose own answer then counts.
        least_agreement: the share of checked items whose two answers must be the same, but for
            case and white space; below it, this instruction is packed no more.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    max_items: int = attrs.field(default=50, validator=[instance_of(int), ge(1)])
    max_tokens: int = attrs.field(default=16_000, validator=[instance_of(int), ge(1)])
    max_item_tokens: int = attrs.field(default=500, validator=[instance_of(int), ge(1)])
    check_share: float = attrs.field(default=0.02, validator=[ge(0), le(1)])
    least_agreement: float = attrs.field(default=0.9, validator=[gt(0), le(1)])

    name = "pack"

    @property
    def bounds(self) -> BatchLimits:
        """What one call may come to."""
        return BatchLimits(max_size=self.max_items, max_tokens=self.max_tokens)

    def key(self, request: Request) -> Hashable | None:
        """Everything but the item; None for what cannot be said in a pack."""
        turns = request.messages
        if (
            not request.packable
            or request.task != "chat"
            or request.n > 1
            or request.stop  # of a text that is inside another one
            or not _MORE_THAN_TEXT.isdisjoint(request.extra_body)
            or len(turns) < 2  # noqa: PLR2004  # instruction and item
            or turns[0].role not in ("system", "developer")
            or turns[-1].role != "user"
            or len(turns[-1].content) > 4 * self.max_item_tokens
            or any(turn.extra for turn in turns)
        ):
            return None
        common = common_key(request, "messages")
        if common is None:
            return None
        return common, tuple((turn.role, turn.content) for turn in turns[:-1])

    def pieces(self, request: Request, weigh: Callable[[str], BatchWeight]) -> Sequence[Request]:  # noqa: ARG002  # see Strategy
        """An item is whole."""
        return (request,)

    def texts(self, request: Request) -> Sequence[str]:
        """The item."""
        return (request.messages[-1].content,)

    def combine(self, requests: Sequence[Request]) -> Request:
        """Instruction, note and items, numbered from 1; the answer is an object for each."""
        first = requests[0]
        system, *more = first.messages[:-1]
        items: list[Json] = [
            {"id": number, "text": request.messages[-1].content}
            for number, request in enumerate(requests, 1)
        ]
        most = first.max_tokens
        if most is not None:
            most = _TOKENS_ALL + len(requests) * (most + _TOKENS_AROUND)
        text = json.dumps(items, ensure_ascii=False, separators=(",", ":"))
        return attrs.evolve(
            first,
            messages=(
                attrs.evolve(system, content=f"{system.content.rstrip()}\n\n{_NOTE}"),
                *more,
                ChatMessage("user", text),
            ),
            max_tokens=most,
            json_schema=_schema(first.json_schema),
            packable=False,
        )

    def split(self, requests: Sequence[Request], response: Response) -> Sequence[Response | None]:
        """The answer under each item's number; None where there is none or more than one (L5)."""
        answers = _read(response.text)
        found: list[Response | None] = []
        for number, request in enumerate(requests, 1):
            own = answers.get(number, [])
            text = _text(own[0], request) if len(own) == 1 else None
            found.append(None if text is None else _alone(response, text))
        return found

    def join(self, request: Request, answers: Sequence[Response]) -> Response:  # noqa: ARG002  # see Strategy
        """The one there is."""
        return answers[0]


def _schema(answer: object) -> dict[str, Json]:
    """The shape of all answers; the answer to one item is of the item's own shape, or a text."""
    own = {"type": "string"} if answer is None else answer
    entry: dict[str, Json] = {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "answer": cast("Json", own)},
        "required": ["id", "answer"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"answers": {"type": "array", "items": entry}},
        "required": ["answers"],
        "additionalProperties": False,
    }


def _read(text: str) -> dict[int, list[Json]]:
    """{number: what was answered under it}; nothing of what is not in order."""
    try:
        whole = cast("Json", json.loads(text))
    except (ValueError, RecursionError):
        return {}
    entries = whole.get("answers") if isinstance(whole, dict) else None
    found: dict[int, list[Json]] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and type(number := entry.get("id")) is int:
            found.setdefault(number, []).append(entry.get("answer"))
    return found


def _text(answer: Json, request: Request) -> str | None:
    """An answer as it would have come alone; None if it is of the wrong type."""
    if request.json_schema is not None:
        return json.dumps(answer, ensure_ascii=False) if answer is not None else None
    return answer if isinstance(answer, str) and answer.strip() else None


def _alone(response: Response, text: str) -> Response:
    choice = Choice(text, "stop")
    return attrs.evolve(response, text=text, finish_reason="stop", choices=(choice,), body=None)


_LEAST_CHECKS = 5  # fewer say nothing
_REMEMBERED = 50  # checks; a share of the latest ones, so that a change shows


@attrs.frozen
class AgreementStatistics:
    """What checks have found for members with one key.

    Args:
        checks: members that were asked both ways.
        agreed: those whose two answers were the same.
        answered: members whose combined call had an answer for them.
        missed: members whose combined call had none.
        is_trusted: they are still sent together.
    """

    checks: int
    agreed: int
    answered: int
    missed: int
    is_trusted: bool


@final
class Agreement:
    """Counts checks, and ends the trust when too few agree, or too many answers are missing.

    Args:
        least: the share that must agree, and of members that must be answered.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._latest: list[bool] = []
        self._checks = self._agreed = self._answered = self._missed = 0
        self.is_trusted = True

    def check(self, *, agrees: bool) -> None:
        """A member was asked both ways."""
        self._checks += 1
        self._agreed += agrees
        self._latest = [*self._latest[1 - _REMEMBERED :], agrees]
        if len(self._latest) >= _LEAST_CHECKS:
            share = sum(self._latest) / len(self._latest)
            self.is_trusted = self.is_trusted and share >= self._least

    def count(self, answered: int, missed: int) -> None:
        """A combined call had answers for some of its members."""
        self._answered += answered
        self._missed += missed
        total = self._answered + self._missed
        if total >= _REMEMBERED and self._answered < self._least * total:
            self.is_trusted = False

    def statistics(self) -> AgreementStatistics:
        """What was found."""
        return AgreementStatistics(
            self._checks, self._agreed, self._answered, self._missed, self.is_trusted
        )


def answers_agree(one: Response, other: Response) -> bool:
    """Whether two answers are the same, but for case and white space, or as JSON."""
    return _plain(one.text) == _plain(other.text)


def _plain(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return " ".join(value.split()).casefold() if isinstance(value, str) else value
