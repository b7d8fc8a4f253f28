"""What all dialects share when they read bodies: the request, and whether it is streamed."""

import re
from collections.abc import Mapping
from typing import Any

from ...actors import Json, Request, Task
from ...bodies import InvalidBody, wrong_kind

_FIELD = re.compile(r"'?\b([a-z_]+)\b'?((?:[.\[]\S+)?)")  # a word with a path
_WORD = " tok"  # a token of about the usual length
_LONGEST = 300  # characters of an error
_DEEPEST = 80  # characters of a path


def need(body: Mapping[str, Json], *names: str) -> None:
    """Check that a body has members.

    Args:
        body: the decoded JSON.
        names: the members that it must have.

    Raises:
        InvalidBody: one of them is missing or null.
    """
    for name in names:
        if body.get(name) is None:
            raise InvalidBody(f'the body has no "{name}"', name)


def flag(body: Mapping[str, Json], name: str, within: str = "") -> bool:
    """Return a member that is true or false; False if it is missing or null.

    Args:
        body: the decoded JSON, or an object in it.
        name: the name of the member.
        within: the path of the object, with a dot at its end; "" for the whole body.

    Raises:
        InvalidBody: it has another value.
    """
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise wrong_kind(within + name, "true or false", value)


def take_stream(extra: dict[str, Json]) -> tuple[bool, bool]:
    """Take the members that ask for a stream; return whether it is wanted, and its usage.

    Other options of a stream stay, because the provider acts on them. The usage of a stream is
    always requested, and passed on to clients that want it.

    Args:
        extra: the members of the body that are no fields of a request.

    Raises:
        InvalidBody: one of them has a wrong value.
    """
    is_streamed = flag(extra, "stream")
    extra.pop("stream", None)
    options = extra.pop("stream_options", None)
    if options is None:
        return is_streamed, False
    if not isinstance(options, dict):
        raise wrong_kind("stream_options", "an object", options)
    include_usage = flag(options, "include_usage", "stream_options.")
    rest = {name: value for name, value in options.items() if name != "include_usage"}
    if rest and is_streamed:
        extra["stream_options"] = rest
    return is_streamed, is_streamed and include_usage


def take_token_ids(body: Mapping[str, Json], name: str) -> tuple[Mapping[str, Json], Json]:
    """Return a body with texts in place of token ids, and the lists of these; None for none.

    LangChain splits texts into tokens by itself. A text has as many words as a list has ids, so
    that limits and budgets count about as many tokens.

    Args:
        body: the decoded JSON.
        name: the member that has the texts.
    """
    given = body.get(name)
    if not isinstance(given, list) or not given:
        return body, None
    lists: list[Json] = [given] if isinstance(given[0], int) else given
    texts: list[Json] = []
    for ids in lists:
        if not isinstance(ids, list) or set(map(type, ids)) != {int}:
            return body, None
        texts.append(_WORD * len(ids))
    return {**body, name: texts}, lists


def build_request(
    task: Task, fields: Mapping[str, object], members: Mapping[str, str], **more: object
) -> Request:
    """Return the request of fields.

    Args:
        task: the task of the request.
        fields: the fields, with values of the right types.
        members: the names of members of the body by those of fields, where they differ.
        more: further fields of the request.

    Raises:
        InvalidBody: a value is out of range; the error names the member.
    """
    given: dict[str, Any] = {**fields, **more}
    try:
        return Request(task=task, **given)
    except (ValueError, TypeError) as error:
        text = str(error.args[0]) if error.args else "the body is invalid"
    found = _FIELD.search(text)
    while found is not None and found[1] not in given:
        found = _FIELD.search(text, found.end(1))
    if found is None:
        raise InvalidBody(text[:_LONGEST])
    field, path = found[1], found[2]
    is_extra = field == "extra_body"  # the path within it is that of the body
    place = (path.removeprefix(".") if is_extra else members.get(field, field) + path)[:_DEEPEST]
    reason = f'{text[: found.start()]}"{place}"{text[found.end() :]}'
    raise InvalidBody(reason[:_LONGEST], place)
