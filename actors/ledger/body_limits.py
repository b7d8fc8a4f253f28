"""Reads how much a request lets a provider generate, from all that is in its body. Pure (R14).

The members of `extra_body` win over the fields of a request, in each format by names of its own.
The highest limit counts. A limit takes effect only where some format has it; anywhere else, and for
the budgets of thinking, it can only raise what is reserved.
"""

import math
from collections.abc import Iterator, Mapping

import attrs

from ..json_value import Json
from ..messages import Request

# Without underscores and in lower case: Google takes both spellings of its names.
_CONFIG = "generationconfig"
_LIMITS = {
    "": frozenset({"maxcompletiontokens", "maxoutputtokens", "maxtokens"}),
    _CONFIG: frozenset({"maxoutputtokens"}),
}
"""{where they are: members that limit a response}"""
_RAISING = frozenset(
    {
        "budgettokens",  # of thinking, which may be more than the limit of a response
        "maxcompletiontokens",
        "maxnewtokens",
        "maxoutputtokens",
        "maxtokens",
        "maxtokenstosample",
        "numpredict",
        "thinkingbudget",
    }
)
_CHOICES = frozenset({"bestof", "candidatecount", "n", "numgenerations", "numreturnsequences"})


@attrs.frozen
class BodyLimits:
    """What a request lets a provider generate.

    Args:
        tokens: the most tokens of each choice; None without a limit.
        least: tokens that a choice may have at least, where `tokens` is None.
        choices: the most choices for each prompt.
        predicted: bytes of a predicted output, whose tokens are billed if they are wrong.
        models: the models that the body names beside that of the request.
    """

    tokens: int | None
    least: int = 0
    choices: int = 1
    predicted: int = 0
    models: tuple[str, ...] = ()


def read_limits(request: Request) -> BodyLimits:
    """Return what a request lets a provider generate.

    Args:
        request: the request to send.
    """
    extra = request.extra_body
    if not extra:
        return BodyLimits(request.max_tokens, choices=request.n)
    limits = [] if request.max_tokens is None else [request.max_tokens]
    choices, least, is_unlimited = request.n, 0, False
    for place, name, value in _members(extra):
        number = _number(value)
        if name in _LIMITS.get(place, ()):
            if number is None or number < 1:  # null takes a limit back, and -1 is none
                is_unlimited = True
            else:
                limits.append(number)
        elif name in _RAISING:
            least = max(least, number or 0)
        elif name in _CHOICES:
            choices = max(choices, number or 1)
        elif name == _CONFIG and not isinstance(value, dict):
            is_unlimited = True  # without the limit that the format has put there
    most = None if is_unlimited or not limits else max(*limits, least)
    return BodyLimits(
        most,
        max(least, *limits, 0),
        choices,
        _bytes_in(extra.get("prediction")),
        tuple(_models(extra)),
    )


def _members(body: Mapping[str, Json]) -> Iterator[tuple[str, str, Json]]:
    """Yield the members of an object and of the objects in it: the place, the name, the value."""
    waiting = [("", body)]
    while waiting:
        place, members = waiting.pop()
        for written, value in members.items():
            name = written.replace("_", "").lower()
            yield place, name, value
            if isinstance(value, dict):
                waiting.append((f"{place}.{name}" if place else name, value))


def _number(value: Json) -> int | None:
    """Return a whole number, also one that is written as a text or as a float."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isdecimal() and len(text) < 20 else None  # noqa: PLR2004  # 64 bits
    if isinstance(value, int | float) and math.isfinite(value):
        return math.ceil(value)
    return None


def _models(extra: Mapping[str, Json]) -> Iterator[str]:
    """Yield the models that the provider may use: OpenRouter takes a list of others."""
    listed = extra.get("models")
    for model in (extra.get("model"), *(listed if isinstance(listed, list) else ())):
        if isinstance(model, str):
            yield model


def _bytes_in(value: Json) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return sum(map(_bytes_in, value.values()))
    return sum(map(_bytes_in, value)) if isinstance(value, list) else 0
