"""The endpoints generateContent and streamGenerateContent of Gemini.

Source: docs/providers.md, Gemini: requests and responses; Gemini: streams.
"""

import json
import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import cast

import attrs

from .arrivals import Arrival
from .body import RequestBody, RequestRefused
from .cacheable import CacheablePrompt, blocks_of, within
from .call import AnswerContext, ModelAnswer, Piece
from .completions import MAX_TOKENS
from .generation import (
    EFFORTS,
    Bit,
    Part,
    TokenChance,
    ToolOffer,
    Written,
    chances_of,
    write,
)
from .prompt import Conversation, ConversationMessage
from .settings import ProviderSettings
from .tools import offer_of, read_tool, tool_tokens
from .wire import Json, canonical, compact, event

MAX_CONTENTS = 100_000
MAX_CANDIDATES = 8
MAX_STOPS = 5
MAX_THINKING_TOKENS = 32_768
MAX_LOGPROBS = 20

MODEL_PATHS = ("/v1beta/models/{model}", "/v1/models/{model}")
"""The paths of a model, to which the method is added; Google's clients use either."""

_MEMBERS = frozenset({
    "model", "stream", "contents", "systemInstruction", "generationConfig", "tools", "toolConfig",
    "safetySettings", "cachedContent", "labels", "serviceTier",
})  # fmt: skip
_CONFIG = frozenset({
    "candidateCount", "frequencyPenalty", "logprobs", "maxOutputTokens", "mediaResolution",
    "presencePenalty", "responseJsonSchema", "responseLogprobs", "responseMimeType",
    "responseModalities", "responseSchema", "seed", "stopSequences", "temperature",
    "thinkingConfig", "topK", "topP",
})  # fmt: skip
# Members whose own members have names of the user's.
_FREE = frozenset({
    "args", "labels", "parameters", "parametersJsonSchema", "response", "responseJsonSchema",
    "responseSchema",
})  # fmt: skip
# {original name of a member: its name in JSON}
_ORIGINAL_NAMES = {
    re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", name): name
    for name in _MEMBERS | _CONFIG | _FREE | {
        "allowedFunctionNames", "fileData", "functionCall", "functionCallingConfig",
        "functionDeclarations", "functionResponse", "includeThoughts", "inlineData",
        "thinkingBudget", "thinkingLevel",
    }
}  # fmt: skip
_FUNCTION_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_FINISH = {"end": "STOP", "stop": "STOP", "calls": "STOP", "limit": "MAX_TOKENS"}
_MODES = {"AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}
_LEVELS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}


def path_members(arrival: Arrival) -> dict[str, Json]:
    """Return what a path says: the model, and whether the response is a stream, or a list."""
    request, kind = arrival.request, "whole"
    if request.url.path.endswith(":streamGenerateContent"):
        kind = "events" if request.query_params.get("alt") == "sse" else "list"
    return {"model": request.path_params["model"], "stream": kind}


@attrs.frozen(kw_only=True)
class GenerateContentCall:
    """A parsed call (see `ModelCall`)."""

    model: str
    conversation: Conversation
    prompt_key: str = attrs.field(repr=False)
    kind: str
    n: int
    max_tokens: int | None
    stops: tuple[str, ...]
    schema: Mapping[str, Json] | None
    offer: ToolOffer
    reasoning_tokens: int
    shows_thoughts: bool
    logprobs: int | None
    to_cache: CacheablePrompt = attrs.field(repr=False)

    @classmethod
    def parse(cls, body: RequestBody, settings: ProviderSettings) -> "GenerateContentCall":
        """Parse a request, to which `path_members` were added.

        Raises:
            RequestRefused: the request is invalid.
        """
        body = RequestBody(_in_camel_case(body.members), body.at)
        config = body.object("generationConfig")
        _refuse_unknown(body, _MEMBERS)
        _refuse_unknown(config, _CONFIG)
        messages = _messages(body)
        conversation = Conversation(messages, tool_tokens(body.members.get("tools")))
        if conversation.tokens > settings.context_tokens:
            raise RequestRefused(
                400,
                f"The input token count ({conversation.tokens}) exceeds the maximum number of "
                f"tokens allowed ({settings.context_tokens}).",
            )
        config.number("temperature", 0, 2)
        config.number("topP", 0, 1)
        thinking = config.object("thinkingConfig")
        return cls(
            model=body.model(),
            conversation=conversation,
            prompt_key=canonical([{"role": m.role, "content": m.text} for m in messages]),
            kind=str(body.members.get("stream")),
            n=config.integer("candidateCount", 1, MAX_CANDIDATES) or 1,
            max_tokens=config.integer("maxOutputTokens", 1, MAX_TOKENS),
            stops=config.words("stopSequences", MAX_STOPS),
            schema=_schema(config),
            offer=_offer(body),
            reasoning_tokens=_thinking_tokens(thinking),
            shows_thoughts=thinking.flag("includeThoughts"),
            logprobs=_top_logprobs(config),
            to_cache=_to_cache(body, conversation.tokens),
        )

    @property
    def tier(self) -> str:
        """The only service tier of the simulated account."""
        return "default"

    @property
    def stream(self) -> bool:
        """Whether the response is a stream of events; a list is sent whole."""
        return self.kind == "events"

    @property
    def estimated_tokens(self) -> int:
        """The prompt tokens, estimated from the characters."""
        return self.conversation.estimated_tokens

    @property
    def max_output_tokens(self) -> int | None:
        """The maximum of output tokens of all candidates; None if the request sets none."""
        return None if self.max_tokens is None else self.max_tokens * self.n

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Write every candidate."""
        talk = self.conversation
        written = [
            write(
                talk.system,
                talk.question,
                seed=context.seed,
                choice=choice,
                schema=self.schema,
                max_tokens=self.max_tokens,
                stops=self.stops,
                offer=self.offer,
                told=talk.told,
                reasoning_tokens=self.reasoning_tokens,
                key=context.hex,
            )
            for choice in range(self.n)
        ]
        tokens = sum(one.tokens for one in written)
        if self.kind == "whole":
            found: list[Json] = [
                self._candidate(i, [(part, part.text, 0) for part in one.parts], one)
                for i, one in enumerate(written)
            ]
            body = compact(self._response(context, found, written))
            return ModelAnswer((Piece(body, tokens),), talk.tokens)
        chunks = self._chunks(context, written)
        if self.kind == "list":
            return ModelAnswer(
                (Piece(compact([chunk for chunk, _ in chunks]), tokens),), talk.tokens
            )
        pieces = tuple(Piece(event(chunk), output_tokens) for chunk, output_tokens in chunks)
        return ModelAnswer(pieces, talk.tokens)

    def _chunks(
        self, context: AnswerContext, written: list[Written]
    ) -> list[tuple[dict[str, Json], int]]:
        """Return the partial responses of a stream, with their output tokens.

        A call comes whole in one of them; the last one of a candidate has its finish reason.
        """
        by_token = self.logprobs is not None
        bits = [_whole_calls(one.bits(context.pieces, by_token=by_token)) for one in written]
        found: list[tuple[dict[str, Json], int]] = []
        said = [0] * len(written)
        for turn in zip_longest(*bits):
            candidates: list[Json] = []
            for i, bit in enumerate(turn):
                if bit is None:
                    continue
                said[i] += bit.tokens
                end = written[i] if bit is bits[i][-1] else None
                candidates.append(self._candidate(i, [(bit.part, bit.text, bit.start)], end))
            tokens = sum(bit.tokens for bit in turn if bit is not None)
            is_last = said == [one.tokens for one in written]
            shown = written if is_last else None
            found.append((self._response(context, candidates, shown), tokens))
        return found

    def _part(self, part: Part, text: str) -> dict[str, Json] | None:
        match part.kind:
            case "call":
                return {"functionCall": {"name": part.name, "args": _arguments(text)}}
            case "reasoning":
                return {"text": text, "thought": True} if self.shows_thoughts else None
            case "text":
                return {"text": text}

    def _candidate(
        self, index: int, pieces: list[tuple[Part, str, int]], end: Written | None
    ) -> dict[str, Json]:
        """Return a candidate, whole or a piece of it.

        Args:
            index: the number of the candidate.
            pieces: its parts; of each, the text and the index of its first character.
            end: the whole of it if this is the last piece.
        """
        parts = (self._part(part, text) for part, text, _ in pieces)
        shown = list[Json](part for part in parts if part is not None)
        content: dict[str, Json] = {"parts": shown} if shown else {}
        found: dict[str, Json] = {"content": {**content, "role": "model"}, "index": index}
        if self.logprobs is not None:
            chances = [
                chance
                for part, text, start in pieces
                if part.kind == "text"
                for chance in chances_of(text, start, self.logprobs)
            ]
            found |= _logprobs(chances)
        if end is not None:
            found["finishReason"] = _FINISH[end.ended]
        return found

    def _response(
        self, context: AnswerContext, candidates: list[Json], written: list[Written] | None
    ) -> dict[str, Json]:
        found: dict[str, Json] = {"candidates": candidates}
        read = self.conversation.tokens
        if context.with_usage:
            usage: dict[str, Json] = {"promptTokenCount": read, "totalTokenCount": read}
            if context.cache.read:
                usage["cachedContentTokenCount"] = context.cache.read
            if written is not None:
                thoughts = sum(one.reasoning_tokens for one in written)
                tokens = sum(one.tokens for one in written)
                usage["candidatesTokenCount"] = tokens - thoughts
                usage["totalTokenCount"] = read + tokens
                if thoughts:
                    usage["thoughtsTokenCount"] = thoughts
            found["usageMetadata"] = usage
        return {**found, "modelVersion": self.model, "responseId": context.hex[:22]}


def _in_camel_case(members: Mapping[str, Json]) -> dict[str, Json]:
    """Return the members by their names in JSON; Google also accepts their original names.

    ``generation_config`` is ``generationConfig``.
    """
    found: dict[str, Json] = {}
    for name, value in members.items():
        known = _ORIGINAL_NAMES.get(name, name)
        found[known] = value if known in _FREE else _members_in_camel_case(value)
    return found


def _members_in_camel_case(value: Json) -> Json:
    if isinstance(value, list):
        return [_members_in_camel_case(item) for item in value]
    return _in_camel_case(value) if isinstance(value, dict) else value


def _top_logprobs(config: RequestBody) -> int | None:
    top = config.integer("logprobs", 0, MAX_LOGPROBS)
    if config.flag("responseLogprobs"):
        return top or 0
    if top is not None:
        raise RequestRefused(400, "logprobs needs responseLogprobs to be true.")
    return None


def _logprobs(chances: list[TokenChance]) -> dict[str, Json]:
    """Return the members of a candidate with the probabilities of its tokens."""
    if not chances:
        return {}

    def shown(token: str, logprob: float) -> Json:
        return {"token": token, "logProbability": logprob}

    likely: list[Json] = [
        {"candidates": [shown(*one) for one in chance.likely]} for chance in chances
    ]
    return {
        "avgLogprobs": sum(chance.logprob for chance in chances) / len(chances),
        "logprobsResult": {
            "chosenCandidates": [shown(chance.token, chance.logprob) for chance in chances],
            "topCandidates": likely,
        },
    }


def _refuse_unknown(body: RequestBody, known: frozenset[str]) -> None:
    for name in body.members:
        if name not in known:
            where = f" at '{body.at.rstrip('.')}'" if body.at else ""
            raise RequestRefused(
                400,
                f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.',
            )


def _messages(body: RequestBody) -> tuple[ConversationMessage, ...]:
    system = body.object("systemInstruction").members
    found = [_message("system", system)] if system else []
    for i, item in enumerate(body.items("contents", MAX_CONTENTS)):
        if not isinstance(item, dict) or not isinstance(item.get("parts"), list):
            raise RequestRefused(400, f"contents[{i}].parts must not be empty.")
        role = item.get("role", "user")
        if role not in ("user", "model"):
            raise RequestRefused(400, "Please use a valid role: user, model.")
        found.append(_message("user" if role == "user" else "assistant", item))
    return tuple(found)


def _message(role: str, content: Mapping[str, Json]) -> ConversationMessage:
    parts = [part for part in cast("list[Json]", content["parts"]) if isinstance(part, dict)]
    texts: list[str] = []
    for part in parts:
        if "functionResponse" in part:
            role = "tool"
        text = part.get("text")
        call = part.get("functionResponse") or part.get("functionCall")
        if isinstance(text, str):
            texts.append(text)
        elif call is not None:
            texts.append(canonical(call))
    images = sum("inlineData" in part or "fileData" in part for part in parts)
    return ConversationMessage(role, "\n".join(texts), images)


def _to_cache(body: RequestBody, tokens: int) -> CacheablePrompt:
    """Return the tools, then the system message, then the contents, each of their parts apart."""
    contents: list[Json] = [dict(body.object("systemInstruction").members)]
    contents += body.items("contents", MAX_CONTENTS)
    messages = list[Json](
        {"role": item.get("role", "user"), "content": item.get("parts")}
        for item in contents
        if isinstance(item, dict) and item
    )
    return CacheablePrompt(tuple(within(blocks_of(messages, body.members.get("tools")), tokens)))


def _schema(config: RequestBody) -> Mapping[str, Json] | None:
    if config.text("responseMimeType") != "application/json":
        return None
    schema = config.members.get("responseJsonSchema") or config.members.get("responseSchema")
    found = _lowered(schema)
    return found if isinstance(found, dict) else {"type": "object", "properties": {}}


def _lowered(schema: Json) -> Json:
    """Return a schema with the names of its types in lower case, as JSON schemas have them."""
    if isinstance(schema, list):
        return [_lowered(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lowered(value)
        for name, value in schema.items()
    }


def _offer(body: RequestBody) -> ToolOffer:
    tools = [
        read_tool(
            RequestBody({**item.members, "parameters": _parameters(item)}, item.at),
            "parameters",
            _FUNCTION_NAME,
        )
        for group in body.list_of_objects("tools")
        for item in group.list_of_objects("functionDeclarations")
    ]
    config = body.object("toolConfig").object("functionCallingConfig")
    allowed = config.words("allowedFunctionNames", MAX_CONTENTS)
    if allowed:
        tools = [tool for tool in tools if tool.name in allowed]
    mode = config.choice("mode", tuple(_MODES))
    return offer_of(RequestBody({}), tools, None if mode is None else _MODES[mode])


def _parameters(item: RequestBody) -> Json:
    given = item.members.get("parametersJsonSchema") or item.members.get("parameters")
    return _lowered(given or {})


def _thinking_tokens(thinking: RequestBody) -> int:
    level = thinking.text("thinkingLevel")
    if level is not None:
        known = _LEVELS.get(level.upper())  # its reference writes LOW, its guide low
        if known is None:
            raise RequestRefused.unsupported(f"{thinking.at}thinkingLevel", level, tuple(_LEVELS))
        return EFFORTS[known]
    budget = thinking.integer("thinkingBudget", -1, MAX_THINKING_TOKENS) or 0
    return EFFORTS["medium"] if budget < 0 else min(budget, EFFORTS["medium"])


def _arguments(text: str) -> Json:
    """Return the arguments of a call; {} if the limit of tokens cut them."""
    try:
        return cast("Json", json.loads(text))
    except ValueError:
        return {}


def _whole_calls(bits: list[Bit]) -> list[Bit]:
    """Return the bits, with those of each call joined into one."""
    found: list[Bit] = []
    for bit in bits:
        if bit.part.kind != "call":
            found.append(bit)
        elif bit.is_first:
            found.append(Bit(bit.part, bit.index, 0, bit.part.text, bit.part.tokens))
    return found
