"""Read a cell of a column: as text, as a whole chat, or as a field of a request."""

from contextlib import suppress
from datetime import date, time
from decimal import Decimal
from math import isnan
from typing import cast

from ...actors import ChatMessage, Json, kind_of, loads
from ...bodies import InvalidBody, read_messages
from .advice import is_conversation
from .errors import BadRecord

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
"""{author in a chat of ShareGPT: role}"""


def text_of(name: str, value: object) -> str:
    """Return the text of a value; a number, a date or a truth value is its text.

    Args:
        name: the name of the column.
        value: a cell of it.

    Raises:
        BadRecord: the value has no text.
    """
    text: str | None = None
    if isinstance(value, str):
        text = value
    elif value is None or (isinstance(value, float) and isnan(value)):
        text = ""
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, int | float | Decimal):
        text = str(value)
    elif isinstance(value, date | time):
        text = value.isoformat()
    elif isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            text = value.decode()
    if text is None:
        advice = _chat_advice(name, value)
        reason = f'"{name}" must be a text, not {kind_of(value)}{advice}'
        raise BadRecord(reason, is_misfit=True)
    return text


def _chat_advice(name: str, value: object) -> str:
    is_chat = isinstance(value, list) and is_conversation(cast("Json", value))
    return f"; for a list of messages, give --map messages={name}" if is_chat else ""


def chat_of(name: str, value: Json) -> tuple[ChatMessage, ...]:
    """Read a whole chat: a list of messages, an object with one, or either as JSON text.

    Args:
        name: the name of the column.
        value: a cell of it.

    Raises:
        BadRecord: the value is no chat.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = loads(value.encode())
        except ValueError as error:
            raise BadRecord(f'"{name}" is not JSON: {error}', is_misfit=True) from None
    if isinstance(value, dict):
        value = value.get("messages")
    if not isinstance(value, list) or not value:
        reason = f'"{name}" must be a list of messages, not {kind_of(value)}'
        raise BadRecord(reason, is_misfit=True)
    try:
        return read_messages(name, [_message(without_nulls(item)) for item in value])
    except InvalidBody as error:
        raise BadRecord(error.reason) from None


def _message(item: Json) -> Json:
    """Return a message of ShareGPT, with `from` and `value`, as one with role and content."""
    if not isinstance(item, dict) or "from" not in item or "role" in item:
        return item
    speaker = item["from"]
    role = _SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker
    return {"role": role, "content": item.get("value")}


def without_nulls(value: Json) -> Json:
    """Return a nested value without null members, which columns have where other rows have more."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def field_of(field: str, name: str, value: object) -> object:
    """Read a mapped column; in CSV, numbers are text.

    Args:
        field: the field of the request: "model", "max_tokens" or "temperature".
        name: the name of the column.
        value: a cell of it.

    Raises:
        BadRecord: the value does not suit the field.
    """
    if field == "model":
        return text_of(name, value)
    if isinstance(value, float) and value.is_integer() and field == "max_tokens":
        return int(value)  # pandas has no whole numbers in a column with an empty cell
    number: type[int | float] = int if field == "max_tokens" else float
    try:
        if isinstance(value, str):
            return number(value)
    except ValueError:
        pass
    else:
        if type(value) is int or type(value) is number:
            return value
    wanted = "a whole number" if number is int else "a number"
    raise BadRecord(f'"{name}" must be {wanted}, not {kind_of(value)}', is_misfit=True)
