"""How structured output is requested where a server does not enforce JSON schemas. Pure (R14).

Only for `Request.returns`, whose text is validated here: what a program has written itself as
`json_schema` or in `extra_body` is sent as it is (L15).
"""

import json
import re
from collections.abc import Container, Mapping
from typing import Literal

import attrs

from ..chat_message import ChatMessage
from ..json_value import Json
from ..messages import Request
from ..vendors import ApiError

SchemaForm = Literal["enforced", "json", "described"]
"""The server enforces the schema; or only that the text is JSON; or nothing. The model reads the
schema in the last two."""

_CHAT = "response_format"
_MEMBERS = (_CHAT, "text", "output_config", "generationConfig")  # which have the schema in a body
_WORDS = "Respond with nothing but one JSON value that matches this JSON schema:\n"
_NAMED = re.compile(
    r"response[_ ]?format|output[_ ]?(?:config|format)|text\.format|json[_ ]?(?:schema|object)"
    r"|response[_ ]?(?:json[_ ]?)?schema|structured output",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"unsupport|unrecogni|unknown|unexpected|unavailable|forbidden|extra (?:inputs|fields)"
    r"|must be (?:one of|either|'text'|\"text\")|supported values|expected one of"
    r"|(?:not|n't) (?:be )?(?:accept|allow|available|enabl|exist|implement|permit|recogni|support)",
    re.IGNORECASE,
)
# The words of a server that knows schemas and dislikes this one.
_DISLIKED = re.compile(
    r"invalid (?:json )?schema|schema for response_format|in context=", re.IGNORECASE
)


def refuses_schemas(error: ApiError, sent: Mapping[str, Json], written: Container[str]) -> bool:
    """Return whether a refusal is for the form in which structured output was requested.

    Args:
        error: the provider's words.
        sent: the body that was sent.
        written: the members of it that the user wrote.
    """
    is_ours = any(name in sent and name not in written for name in _MEMBERS)
    if not is_ours or _DISLIKED.search(error.message):
        return False
    words = f"{error.message} {error.code} {error.type}".replace("_", " ")
    is_named = any(_NAMED.search(name) for name in (*error.parameters, error.message))
    return is_named and bool(_REFUSED.search(words))


def next_form(form: SchemaForm, sent: Mapping[str, Json]) -> SchemaForm:
    """Return the form to try after a refused one.

    Args:
        form: the form that was refused.
        sent: the body that was sent.
    """
    return "json" if form == "enforced" and _CHAT in sent else "described"


def with_schema_described(request: Request, form: SchemaForm) -> Request:
    """Return a request that describes the schema of its result to the model.

    Args:
        request: the request as written; one without a class of its result is returned as it is.
        form: how its result is asked for.
    """
    if form == "enforced" or request.returns is None:
        return request
    output = request.output_schema
    if output is None:
        return request
    words = _WORDS + json.dumps(dict(output.schema), ensure_ascii=False)
    extra = dict(request.extra_body)
    if form == "json":
        extra.setdefault(_CHAT, {"type": "json_object"})
    first, *others = request.messages
    if first.role in ("system", "developer") and not first.extra:
        instruction = attrs.evolve(first, content=f"{first.content}\n\n{words}")
    else:
        instruction, others = ChatMessage("system", words), list(request.messages)
    messages = (instruction, *others)
    return attrs.evolve(request, returns=None, messages=messages, extra_body=extra)
