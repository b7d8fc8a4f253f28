"""The schema of short answers, such as labels: its short form, and how long they are. Pure (R14).

In the short form, as in `label: positive|negative|neutral, score: 0..1`, a schema is fields with
commas between them, and a field is `name: kind`. After "?", as in `name?: kind`, a field may be
null; one without a kind is text. A kind is one of

- `text`, `number`, `integer` or `boolean`;
- choices, as in `good|bad`, in quotes if they contain one of `, | : "`;
- a range of numbers with both ends, as in `0..1`, or of integers, as in `integer 1..5`;
- `list of` another kind.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import orjson

from ..actors import Json, class_of_schema, why_not_read

_TYPES = {
    **dict.fromkeys(("text", "string", "str"), "string"),
    **dict.fromkeys(("number", "float"), "number"),
    **dict.fromkeys(("integer", "int"), "integer"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
}
_TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([,:|])|([^,:|"]+))')
_NAME = re.compile(r"\w[\w -]*")
_RANGE = re.compile(
    r"(?:(number|float|integer|int)\s+)?(-?\d+(?:\.\d+)?)\s*\.\.\s*(-?\d+(?:\.\d+)?)"
)
_INTEGER = re.compile(r"-?\d{1,15}")
_LIST = re.compile(r"list of(?:\s+|$)")
_SHOWN = 30
_CHARS_PER_TOKEN = 4  # the providers' rule of thumb; of the marks around names, more
_LENGTHS = {
    "boolean": len("false"),
    "null": len("null"),
    "integer": len("-12345"),
    "number": len("-12.34"),
}
_MOST_DEPTH = 8  # parts inside each other; a schema that contains itself has no end


def schema_class(text: str) -> type[dict[str, Json]]:
    """Return the class of results for a schema: in the short form, as JSON, or in a file.

    Args:
        text: the short form; the JSON schema of an object; or the path of a file with either, which
            may follow an "@".

    Raises:
        ValueError: there is no such file, or the schema is not valid; the text names the place.
    """
    path = text.removeprefix("@").strip()
    if text.startswith("@") or path.lower().endswith((".json", ".txt")):
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError):
                reason = why_not_read(error)
            else:
                reason = "the file is not UTF-8; save it as UTF-8"
            raise ValueError(f"cannot read {path}: {reason}") from None
    if not text.lstrip().startswith("{"):
        return class_of_schema(short_schema(text))
    try:
        found: Json = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the schema is not JSON: {error}") from None
    for around in ("json_schema", "schema"):  # as OpenAI's `response_format` has it
        if isinstance(found, dict) and isinstance(found.get(around), dict):
            found = found[around]
    if not isinstance(found, dict):
        raise ValueError("the schema must be a JSON object")  # noqa: TRY004  # it is a value in a text
    return class_of_schema(found)


def short_schema(text: str) -> dict[str, Json]:
    """Return the JSON schema of the short form.

    Args:
        text: the short form, such as "label: positive|negative, score: 0..1".

    Raises:
        ValueError: it is not valid; the text names the place.
    """
    return _Parser(text).schema()


@final
class _Parser:
    """Reads the tokens of a short form: quoted texts, the signs `,` `:` `|`, and other texts."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[int, str, str]] = []  # (position, kind, text)
        at, end = 0, len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._wrong(at, "a quote is not closed")
            quoted, sign, plain = found.groups()
            start = found.start(found.lastindex or 0)
            if quoted is not None:
                self._tokens.append((start, "quoted", re.sub(r"\\(.)", r"\1", quoted)))
            elif sign is not None:
                self._tokens.append((start, sign, sign))
            elif plain.strip():
                self._tokens.append((start, "text", plain.strip()))
            at = found.end()
        self._at = 0

    def schema(self) -> dict[str, Json]:
        """Return the schema of the whole text."""
        properties: dict[str, Json] = {}
        while True:
            place = self._place()
            name, part = self._field()
            if name in properties:
                raise self._wrong(place, f'the field "{name}" is there twice')
            properties[name] = part
            if not self._takes(","):
                break
        if self._at < len(self._tokens):
            hint = (
                "; fields are separated by commas" if ";" in self._tokens[self._at - 1][2] else ""
            )
            if self._tokens[self._at][1] == "|":
                hint = '; before choices come a name and a colon: "label: positive|negative"'
            raise self._wrong(self._place(), f"a comma is missing before this{hint}")
        return {
            "type": "object",
            "properties": properties,
            "required": list[Json](properties),
            "additionalProperties": False,
        }

    def _field(self) -> tuple[str, dict[str, Json]]:
        place = self._place()
        kind, name = self._next("the name of a field is missing")
        is_optional = kind == "text" and name.endswith("?")
        name = name.removesuffix("?").strip() if is_optional else name
        if kind not in ("text", "quoted") or (kind == "text" and not _NAME.fullmatch(name)):
            rule = "the name of a field is letters, digits, _ and -"
            hint = '; a colon follows it, as in "label: a|b"' if "=" in name else ""
            raise self._wrong(place, f"{rule}{hint}")
        part: dict[str, Json] = self._kind() if self._takes(":") else {"type": "string"}
        return name, {"anyOf": [part, {"type": "null"}]} if is_optional else part

    def _kind(self) -> dict[str, Json]:
        place = self._place()
        kind, text = self._next("a kind is missing, such as text, number, a|b or 0..1")
        if kind == "text":
            if listed := _LIST.match(text):
                self._at -= 1
                rest = text[listed.end() :].strip()
                self._tokens[self._at] = (place + listed.end(), "text", rest)
                if not rest:  # a quoted choice follows
                    del self._tokens[self._at]
                return {"type": "array", "items": self._kind()}
            if found := _RANGE.fullmatch(text):
                return self._range(place, *found.groups())
            if text in _TYPES and self._kind_of_next() != "|":
                return {"type": _TYPES[text]}
        return self._choices(place, kind, text)

    def _range(self, place: int, kind: str | None, low: str, high: str) -> dict[str, Json]:
        if float(low) >= float(high):
            raise self._wrong(place, "a range goes from the lower to the higher number")
        is_whole = kind in ("integer", "int")
        if is_whole and ("." in low or "." in high):
            raise self._wrong(place, "a range of integers has integers at its ends")
        ends: list[Json] = [float(it) if "." in it else int(it) for it in (low, high)]
        name = "integer" if is_whole else "number"
        return {"type": name, "minimum": ends[0], "maximum": ends[1]}

    def _choices(self, place: int, kind: str, text: str) -> dict[str, Json]:
        found = [(kind, text)]
        while self._takes("|"):
            found.append(self._next("a choice is missing"))
        if len(found) == 1 and kind == "text":
            known = "text, number, integer, boolean, list of ..., choices as in a|b, or 0..1"
            raise self._wrong(place, f"no such kind; there are {known}")
        texts = [text for _, text in found]
        if len(set(texts)) < len(texts):
            raise self._wrong(place, "a choice is there twice")
        if set(texts) == {"true", "false"}:
            return {"type": "boolean"}
        if all(kind == "text" and _INTEGER.fullmatch(text) for kind, text in found):
            return {"type": "integer", "enum": [int(text) for text in texts]}
        return {"type": "string", "enum": list[Json](texts)}

    # ----------------------------------------------------------------

    def _next(self, missing: str) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self._wrong(len(self._text), missing)
        place, kind, text = self._tokens[self._at]
        if kind in (",", ":", "|"):
            raise self._wrong(place, missing)
        self._at += 1
        return kind, text

    def _takes(self, sign: str) -> bool:
        if self._kind_of_next() != sign:
            return False
        self._at += 1
        return True

    def _kind_of_next(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _place(self) -> int:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else len(self._text)

    def _wrong(self, place: int, reason: str) -> ValueError:
        rest = self._text[place : place + _SHOWN].strip()
        where = f'at "{rest}" (character {place + 1})' if rest else "at the end"
        return ValueError(f"{where}: {reason}")


# ------------------------------------------------------------------------- the length of a response


def answer_tokens(schema: Mapping[str, Json]) -> int | None:
    """Return the tokens of the longest response that a schema allows, as models usually write it.

    A model may write more, such as spaces or its reasoning, so this is an estimate and no bound.

    Args:
        schema: the JSON schema of an answer.

    Returns:
        The tokens; None if the schema allows a text of any length, or many items.
    """
    chars = _chars(schema, schema, _MOST_DEPTH)
    return None if chars is None else -(-chars // _CHARS_PER_TOKEN)


def _chars(part: Json | Mapping[str, Json], root: Mapping[str, Json], depth: int) -> int | None:
    """Return the characters of the longest JSON value that matches a part of a schema."""
    if not isinstance(part, Mapping) or not depth:
        return None
    if isinstance(choices := part.get("enum", [part["const"]] if "const" in part else None), list):
        return max((_written(choice) for choice in choices), default=None)
    if (parts := _alternatives(part, root)) is not None:
        found = [_chars(one, root, depth - 1) for one in parts]
        known = [one for one in found if one is not None]
        return max(known, default=None) if len(known) == len(found) else None
    match part.get("type"):
        case "object":
            return _object(part, root, depth)
        case "array":
            return _array(part, root, depth)
        case kind:
            return _LENGTHS.get(kind) if isinstance(kind, str) else None


def _alternatives(
    part: Mapping[str, Json], root: Mapping[str, Json]
) -> Sequence[Json | Mapping[str, Json]] | None:
    """Return the parts of a schema of which one must match; None if it is not made of others."""
    if "$ref" in part:
        return [_referred(str(part["$ref"]), root)]
    if isinstance(kinds := part.get("type"), list):
        return [{**part, "type": kind} for kind in kinds]
    found = part.get("anyOf", part.get("oneOf"))
    return found if isinstance(found, list) else None


def _object(part: Mapping[str, Json], root: Mapping[str, Json], depth: int) -> int | None:
    members = part.get("properties")
    if not isinstance(members, dict) or part.get("additionalProperties", False) is not False:
        return None
    length = len("{}")
    for name, member in members.items():
        value = _chars(member, root, depth - 1)
        if value is None:
            return None
        length += _written(name) + len(": ") + value
    return length


def _array(part: Mapping[str, Json], root: Mapping[str, Json], depth: int) -> int | None:
    """Return the characters of an array of choices, which has each of them at most once."""
    items = part.get("items")
    choices = items.get("enum") if isinstance(items, dict) else None
    each = _chars(items, root, depth - 1)
    if not isinstance(choices, list) or each is None:
        return None
    return len("[]") + len(choices) * (each + len(","))


def _written(value: Json) -> int:
    return len(orjson.dumps(value))


def _referred(name: str, root: Mapping[str, Json]) -> Json:
    """Return the definition that a schema refers to, such as "#/$defs/Label"."""
    definitions = root.get(name.split("/")[1]) if name.count("/") == 2 else None  # noqa: PLR2004  # "#/$defs/Label"
    return definitions.get(name.rpartition("/")[2]) if isinstance(definitions, dict) else None
