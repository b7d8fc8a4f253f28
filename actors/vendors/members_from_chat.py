"""Translate the further members of OpenAI's chats for Anthropic, Responses and Gemini. Pure (R14).

chat                   Anthropic                             Responses          Gemini
reasoning_effort       output_config.effort, thinking        reasoning.effort   thinkingConfig
parallel_tool_calls    tool_choice.disable_parallel_tool_use the same           true only
response_format        (a schema is a field of the request)  text.format        responseMimeType
verbosity              -                                     text.verbosity     -
frequency_penalty      0 only                                0 only             the same
"""

from collections.abc import Callable, Mapping

from ..json_value import Json
from ..messages import Request
from .format import UnsupportedField

_WITHOUT_EFFECT = frozenset(
    {
        *("metadata", "prediction", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "safety_identifier", "store", "stream_options", "user"),
    }
)
"""Members that have no effect on the text of a response."""

_USUAL: Mapping[str, tuple[Json, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("auto",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default", "standard", "standard_only"),
    "tool_choice": ("auto", "none"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
"""Values that say what happens without the member."""

_ANTHROPICS = frozenset(
    {
        *("cache_control", "container", "context_management", "inference_geo", "mcp_servers"),
        *("output_config", "speed", "thinking", "top_k"),
    }
)
_RESPONSES = frozenset(
    {
        *("metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store"),
        *("text", "truncation", "user"),
    }
)
_GEMINIS = frozenset(
    {"cachedContent", "generationConfig", "safetySettings", "serviceTier", "toolConfig"}
)
_ANTHROPIC_EFFORTS = {"minimal": "low"}
_GEMINI_LEVELS = {"xhigh": "HIGH", "max": "HIGH"}
_GEMINI_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192}
_MOST_BUDGET = 24_576


def _for_anthropic(
    request: Request, members: Mapping[str, Json], format_name: str
) -> dict[str, Json]:
    written: dict[str, Json] = {}
    for name, value in _with_effect(members, _ANTHROPICS):
        if name == "reasoning_effort" and isinstance(value, str):
            if value == "none":
                written["thinking"] = {"type": "disabled"}
            else:
                effort: Json = _ANTHROPIC_EFFORTS.get(value, value)
                written["output_config"] = {"effort": effort}
        elif name == "parallel_tool_calls" and value is False:
            more: dict[str, Json] = {} if request.tool_choice is not None else {"type": "auto"}
            if request.tools and request.tool_choice != "none":
                written["tool_choice"] = {**more, "disable_parallel_tool_use": True}
        elif name in _ANTHROPICS:
            written[name] = value
        elif not _is_about_schema(request, name):
            raise UnsupportedField(name, format_name)
    return written


def _is_about_schema(request: Request, name: str) -> bool:
    """Return whether a member only names a schema, which is a field of the request."""
    return name == "response_format" and request.json_schema is not None


def _for_responses(
    request: Request, members: Mapping[str, Json], format_name: str
) -> dict[str, Json]:
    written: dict[str, Json] = {}
    text: dict[str, Json] = {}
    for name, value in _with_effect(members, _RESPONSES):
        if name == "reasoning_effort":
            written["reasoning"] = {"effort": value}
        elif name == "verbosity":
            text["verbosity"] = value
        elif name == "response_format" and value == {"type": "json_object"}:
            text["format"] = value
        elif _is_about_schema(request, name) and isinstance(value, dict):
            text["format"] = value.get("json_schema")
        elif name in _RESPONSES:
            written[name] = value
        else:
            raise UnsupportedField(name, format_name)
    if text:
        given = written.get("text")
        written["text"] = {**(given if isinstance(given, dict) else {}), **text}
    return written


def _for_gemini(request: Request, members: Mapping[str, Json], format_name: str) -> dict[str, Json]:
    written: dict[str, Json] = {}
    config: dict[str, Json] = {}
    for name, value in _with_effect(members, _GEMINIS):
        if name == "reasoning_effort" and isinstance(value, str):
            config["thinkingConfig"] = _gemini_thinking(value, request.model)
        elif name in ("frequency_penalty", "presence_penalty"):
            config[name.replace("_p", "P")] = value
        elif name == "top_k":
            config["topK"] = value
        elif name == "response_format" and value == {"type": "json_object"}:
            config["responseMimeType"] = "application/json"
        elif name in _GEMINIS:
            written[name] = value
        elif not _is_about_schema(request, name):
            raise UnsupportedField(name, format_name)
    if config:
        given = written.get("generationConfig")
        written["generationConfig"] = {**config, **(given if isinstance(given, dict) else {})}
    return written


def _gemini_thinking(effort: str, model: str) -> dict[str, Json]:
    """Return the setting for an effort: a level, or a budget for models before Gemini 3."""
    if effort == "none":
        return {"thinkingBudget": 0}
    if "gemini-2." in model:
        return {"thinkingBudget": _GEMINI_BUDGETS.get(effort, _MOST_BUDGET)}
    return {"thinkingLevel": _GEMINI_LEVELS.get(effort, effort.upper())}


def _with_effect(members: Mapping[str, Json], own: frozenset[str]) -> list[tuple[str, Json]]:
    """Return the members that say something else than what happens without them."""
    found: list[tuple[str, Json]] = []
    for name, value in members.items():
        if name not in own and name in _WITHOUT_EFFECT:
            continue
        if any(value == usual for usual in _USUAL.get(name, ()) if _is_alike(value, usual)):
            continue
        found.append((name, value))
    return found


def _is_alike(value: Json, usual: Json) -> bool:
    return isinstance(value, bool) == isinstance(usual, bool)  # for Python, False is 0


FROM_CHAT: Mapping[str, Callable[[Request, Mapping[str, Json], str], dict[str, Json]]] = {
    "anthropic": _for_anthropic,
    "responses": _for_responses,
    "gemini": _for_gemini,
}
"""{wire format: function that writes members of a chat in its words}"""
