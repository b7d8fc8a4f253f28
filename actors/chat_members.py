"""Read the members of a message that is given as the SDKs take it. Pure (R14)."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, cast, get_args

from .json_value import Json, kind_of

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]

_ROLES: Mapping[str, Role] = {role: role for role in get_args(Role)}


class MessageMembers(NamedTuple):
    """The members of a message.

    Args:
        role: the author of the message.
        content: the text of all parts, joined by newlines as vLLM joins them.
        extra: the other members, and a `content` that has more than a text; None if there are none.
    """

    role: Role
    content: str
    extra: Mapping[str, Json] | None = None


def read_message(message: object, name: str) -> MessageMembers:
    """Read a message as the SDKs of OpenAI and Anthropic take it.

    Args:
        message: the JSON object.
        name: what it is called in an error, such as "messages[0]".

    Raises:
        ValueError: it is no such message; the text names the member that is wrong.
    """
    if not isinstance(message, Mapping):
        raise ValueError(f'"{name}" must be an object, not {kind_of(message)}')  # noqa: TRY004  # as for its members
    members = cast("Mapping[str, Json]", message)
    role, content = members.get("role"), members.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        known = ", ".join(_ROLES)
        raise ValueError(f'"{name}.role" is {kind_of(role)}; it must be one of {known}')
    if isinstance(content, str) and len(members) == 2:  # noqa: PLR2004  # role and content, as usual
        return MessageMembers(_ROLES[role], content)
    # A response used as a message has members such as "refusal": null and "annotations": [].
    further: dict[str, Json] = {
        member: value
        for member, value in members.items()
        if member not in ("role", "content") and value is not None and value != []
    }
    if content is None and further:  # an assistant message with tool calls
        return MessageMembers(_ROLES[role], "", {"content": None, **further})
    text, is_all = _content(f"{name}.content", content)
    if not is_all:
        further["content"] = content
    return MessageMembers(_ROLES[role], text, further or None)


def _content(name: str, content: Json) -> tuple[str, bool]:
    """Return the text of a message, and whether it has nothing else."""
    if isinstance(content, str):
        return content, True
    if not isinstance(content, list) or not content:
        raise ValueError(f'"{name}" must be a string or a list of parts, not {kind_of(content)}')
    texts: list[str] = []
    is_all = True
    for at, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            wanted = f'an object with a "type", not {kind_of(part)}'
            raise ValueError(f'"{name}[{at}]" must be {wanted}')  # noqa: TRY004
        if part["type"] == "text":
            text = part.get("text")
            if not isinstance(text, str):
                raise ValueError(f'"{name}[{at}].text" must be a string, not {kind_of(text)}')
            texts.append(text)
        is_all &= part.keys() == {"type", "text"}
    return "\n".join(texts), is_all
