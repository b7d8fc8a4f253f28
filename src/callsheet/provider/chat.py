"""POST /v1/chat/completions."""

from typing import cast

import attrs

from .apierror import ApiError
from .author import write_answer
from .body import Body
from .call import Answer, Ids
from .jsontext import Json, canonical, compact
from .settings import ProviderSettings
from .sse import DONE, event, pieces_of
from .tokens import IMAGE_TOKENS, MESSAGE_TOKENS, PRIMING_TOKENS, count_tokens, cut_to_tokens

__all__ = ["ChatCall"]

MOST_TOKENS = 10_000_000
MOST_CHOICES = 128


@attrs.frozen
class _Turn:
    role: str
    text: str
    images: int = 0


@attrs.frozen(kw_only=True)
class ChatCall:
    """A chat completion to make (see `Call`)."""

    model: str
    turns: tuple[_Turn, ...] = attrs.field(repr=False)
    prompt_key: str = attrs.field(repr=False)
    max_tokens: int | None
    n: int
    stream: bool
    include_usage: bool
    schema: dict[str, Json] | None

    @classmethod
    def parse(cls, body: Body, settings: ProviderSettings) -> "ChatCall":
        """Read a request.

        Raises:
            ApiError: it is not in order.
        """
        messages = body.required("messages")
        stream = body.flag("stream")
        limit = body.integer("max_completion_tokens", 1, MOST_TOKENS)
        if limit is None:
            limit = body.integer("max_tokens", 1, MOST_TOKENS)
        call = cls(
            model=body.model(),
            turns=_turns(messages),
            prompt_key=canonical(messages),
            max_tokens=limit,
            n=body.integer("n", 1, MOST_CHOICES) or 1,
            stream=stream,
            include_usage=body.object("stream_options").flag("include_usage"),
            schema=_schema(body.object("response_format")),
        )
        if call.input_tokens + (limit or 0) > settings.context_tokens:
            raise ApiError.context_exceeded(settings.context_tokens, call.input_tokens, limit or 0)
        return call

    @property
    def input_tokens(self) -> int:
        """Billed tokens of the prompt."""
        turns = sum(
            MESSAGE_TOKENS + count_tokens(turn.text) + IMAGE_TOKENS * turn.images
            for turn in self.turns
        )
        return turns + PRIMING_TOKENS

    @property
    def estimated_tokens(self) -> int:
        """Tokens of the prompt for the limiter: its characters alone."""
        text = sum(len(turn.text) for turn in self.turns)
        return -(-text // 4) + IMAGE_TOKENS * sum(turn.images for turn in self.turns)

    @property
    def most_output_tokens(self) -> int:
        """Tokens all choices together may have; 0 when the request does not say."""
        return (self.max_tokens or 0) * self.n

    def answer(self, seed: int, ids: Ids) -> Answer:
        """Write every choice."""
        system = "\n".join(t.text for t in self.turns if t.role in ("system", "developer"))
        user = next((t.text for t in reversed(self.turns) if t.role == "user"), self.turns[-1].text)
        choices: list[tuple[str, str]] = []
        for choice in range(self.n):
            text = write_answer(system, user, seed=seed, choice=choice, schema=self.schema)
            cut = text if self.max_tokens is None else cut_to_tokens(text, self.max_tokens)
            choices.append((cut, "stop" if cut == text else "length"))
        output_tokens = sum(count_tokens(text) for text, _ in choices)
        usage = _usage(self.input_tokens, output_tokens)
        head: dict[str, Json] = {
            "id": f"chatcmpl-{ids.hex[:29]}",
            "object": "chat.completion",
            "created": ids.created,
            "model": self.model,
        }
        if self.stream:
            parts = self._events(head, choices, usage)
        else:
            found: list[Json] = [_choice(i, *choice) for i, choice in enumerate(choices)]
            parts = (
                compact(
                    head
                    | {
                        "choices": found,
                        "usage": usage,
                        "service_tier": "default",
                        "system_fingerprint": None,
                    }
                ),
            )
        return Answer(parts, self.input_tokens, output_tokens)

    def _events(
        self, head: dict[str, Json], choices: list[tuple[str, str]], usage: dict[str, Json]
    ) -> tuple[bytes, ...]:
        head = head | {"object": "chat.completion.chunk", "system_fingerprint": None}
        tail: dict[str, Json] = {"usage": None} if self.include_usage else {}

        def chunk(index: int, delta: dict[str, Json], finish: str | None = None) -> bytes:
            choice: dict[str, Json] = {
                "index": index,
                "delta": delta,
                "logprobs": None,
                "finish_reason": finish,
            }
            return event({**head, "choices": [choice], **tail})

        found: list[bytes] = []
        for i, (text, finish) in enumerate(choices):
            found.append(chunk(i, {"role": "assistant", "content": "", "refusal": None}))
            found += [chunk(i, {"content": piece}) for piece in pieces_of(text)]
            found.append(chunk(i, {}, finish))
        if self.include_usage:
            found.append(event({**head, "choices": [], "usage": usage}))
        return (*found, DONE)


def _turns(messages: Json) -> tuple[_Turn, ...]:
    if not isinstance(messages, list):
        raise ApiError(400, "Invalid type for 'messages': expected an array.", param="messages")
    if not messages:
        raise ApiError(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            param="messages",
            code="empty_array",
        )
    return tuple(_turn(i, message) for i, message in enumerate(messages))


def _turn(i: int, message: Json) -> _Turn:
    where = f"messages[{i}]"
    if not isinstance(message, dict) or not isinstance(role := message.get("role"), str):
        raise ApiError(400, f"Missing required parameter: '{where}.role'.", param=f"{where}.role")
    match message.get("content"):
        case str() as text:
            return _Turn(role, text)
        case list() as parts:
            texts = [part["text"] for part in parts if isinstance(part, dict) and "text" in part]
            images = sum(isinstance(p, dict) and p.get("type") == "image_url" for p in parts)
            return _Turn(role, "\n".join(map(str, texts)), images)
        case None if role == "assistant":  # it called tools instead
            return _Turn(role, "")
        case _:
            raise ApiError(
                400,
                f"Invalid type for '{where}.content': expected one of a string or array of "
                "objects.",
                param=f"{where}.content",
                code="invalid_type",
            )


def _schema(response_format: Body) -> dict[str, Json] | None:
    match response_format.text("type"):
        case None | "text":
            return None
        case "json_object":
            return {"type": "object", "properties": {"answer": {"type": "string"}}}
        case "json_schema":
            return cast(
                "dict[str, Json]", response_format.object("json_schema").object("schema").members
            )
        case other:
            raise ApiError(
                400,
                f"Invalid value: '{other}'. Supported values are: 'text', 'json_object', and "
                "'json_schema'.",
                param="response_format.type",
                code="invalid_value",
            )


def _choice(index: int, text: str, finish: str) -> dict[str, Json]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": finish,
    }


def _usage(input_tokens: int, output_tokens: int) -> dict[str, Json]:
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
