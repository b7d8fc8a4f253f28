"""What the troupe says to each other.

Every stage on the way of a call takes the same message, `Complete`, so that stages can be stacked,
left out or replaced:

    PostComposerActor -> BatcherActor -> RateLimiterActor -> RequestActor -> provider
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal

import attrs
from attrs.validators import (
    and_,
    deep_iterable,
    ge,
    gt,
    in_,
    instance_of,
    le,
    matches_re,
    min_len,
    optional,
)

__all__ = [
    "ChatMessage",
    "Choice",
    "Delta",
    "Json",
    "Request",
    "Response",
    "Task",
    "Usage",
]


Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


@attrs.frozen
class ChatMessage:
    """One turn of a chat.

    Args:
        role: who says it; the last two give what a call of a tool came to.
        content: the text of it.
        extra: further members of the turn, which are sent as they are and win over the other two:
            `name`, `tool_calls`, or a `content` of several parts, such as images.
    """

    role: Role
    content: str = attrs.field(validator=instance_of(str))
    extra: Mapping[str, Json] | None = attrs.field(default=None, kw_only=True, hash=False)

    @property
    def body(self) -> dict[str, Json]:
        """The turn as OpenAI's and Anthropic's formats have it."""
        said: dict[str, Json] = {"role": self.role, "content": self.content}
        if self.extra is not None:
            said.update(self.extra)
        return said

    @property
    def attachments(self) -> int:
        """How many of its parts are images, sounds or files, those that a tool gave included."""
        return 0 if self.extra is None else _attachments(self.extra.get("content"))


_ATTACHED = ("image", "input_image", "input_audio", "audio", "file", "document", "video")
"""What the types of such parts begin with."""


def _attachments(parts: Json) -> int:
    count = 0
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict):
            kind = part.get("type")
            count += isinstance(kind, str) and kind.startswith(_ATTACHED)
            count += _attachments(part.get("content"))
    return count


Task = Literal["chat", "completion", "embedding"]
"""The next turn of a chat, texts that go on from prompts, or the vectors of texts."""


def _fits_task(request: "Request", _: object, inputs: tuple[str, ...]) -> None:
    """A chat has messages, the other tasks have inputs; never both."""
    if request.task == "chat":
        if inputs:
            raise ValueError('inputs go with task="completion" or "embedding", not with a chat')
        if not request.messages:
            raise ValueError("messages must hold at least one turn")
        return
    if request.messages:
        raise ValueError(f'messages go with task="chat", not with task={request.task!r}')
    if not inputs or not all(inputs):
        raise ValueError("inputs must hold at least one text, and none that is empty")


def _texts(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


_at_least_one = and_(instance_of(int), gt(0))


@attrs.frozen(kw_only=True)
class Request:
    """One request to a model, whatever the wire format it will be sent in.

    What the format of the provider cannot express is refused by name before anything is sent.

    Args:
        model: the provider's name of the model.
        messages: the turns of a chat so far, at least one.
        inputs: of the other tasks: prompts to go on from, or texts to embed; at least one.
        task: "chat", "completion" (a text that goes on from each prompt) or "embedding".
        max_tokens: the most tokens each answer may have; None leaves it to the provider.
        n: answers to each chat or prompt; all of them are billed.
        temperature: 0 to 2; None leaves it to the provider.
        top_p: the share of probability to draw from, 0 to 1; None leaves it to the provider.
        stop: texts at which an answer ends.
        seed: asks the provider for a repeatable answer, which it may or may not give.
        json_schema: a JSON schema that the answer, which is JSON then, must match.
        dimensions: of the vectors; None leaves it to the model.
        extra_body: further members of the request's JSON body, sent as they are.
        cacheable: declares that one answer may serve every identical request (L6).
        packable: declares that it may be asked together with others of the same instruction, in
            one call whose answer holds theirs; for a chat whose last turn is a short item.
        deadline: within how many seconds of being asked for it the answer is wanted; whatever is
            cheapest in that time is done. None for as soon as possible.
        idempotency_key: names this one logical call over all its attempts, in at most 255 visible
            ASCII characters; made when it is sent if empty.

    Raises:
        ValueError, TypeError: a field is out of its range, or no such thing; names the field.
    """

    model: str = attrs.field(validator=and_(instance_of(str), min_len(1)))
    messages: tuple[ChatMessage, ...] = attrs.field(
        default=(),
        converter=tuple[ChatMessage, ...],
        validator=deep_iterable(instance_of(ChatMessage)),
    )
    task: Task = attrs.field(default="chat", validator=in_(("chat", "completion", "embedding")))
    inputs: tuple[str, ...] = attrs.field(
        default=(), converter=_texts, validator=[deep_iterable(instance_of(str)), _fits_task]
    )
    max_tokens: int | None = attrs.field(default=None, validator=optional(_at_least_one))
    n: int = attrs.field(default=1, validator=_at_least_one)
    temperature: float | None = attrs.field(default=None, validator=optional(and_(ge(0), le(2))))
    top_p: float | None = attrs.field(default=None, validator=optional(and_(gt(0), le(1))))
    stop: tuple[str, ...] = attrs.field(
        default=(), converter=_texts, validator=deep_iterable(and_(instance_of(str), min_len(1)))
    )
    seed: int | None = None
    json_schema: Mapping[str, Json] | None = None
    dimensions: int | None = attrs.field(default=None, validator=optional(_at_least_one))
    extra_body: Mapping[str, Json] = attrs.field(factory=dict[str, Json])
    cacheable: bool = False
    packable: bool = False
    deadline: float | None = attrs.field(default=None, validator=optional(gt(0)))
    idempotency_key: str = attrs.field(default="", validator=matches_re(r"[!-~]{0,255}"))

    @classmethod
    def of(
        cls,
        prompt: str,
        *,
        model: str,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        cacheable: bool = False,
        packable: bool = False,
        deadline: float | None = None,
    ) -> "Request":
        """A chat of one user turn, with a system turn before it if `system` is given."""
        user = ChatMessage("user", prompt)
        return cls(
            model=model,
            messages=(user,) if system is None else (ChatMessage("system", system), user),
            max_tokens=max_tokens,
            temperature=temperature,
            cacheable=cacheable,
            packable=packable,
            deadline=deadline,
        )

    @classmethod
    def embedding(
        cls,
        texts: str | Iterable[str],
        *,
        model: str,
        cacheable: bool = False,
        deadline: float | None = None,
    ) -> "Request":
        """A request for the vectors of some texts."""
        return cls(
            model=model,
            task="embedding",
            inputs=_texts(texts),
            cacheable=cacheable,
            deadline=deadline,
        )


@attrs.frozen
class Usage:
    """Tokens a provider reports for one call.

    Args:
        input_tokens: of the prompt, cached ones and those written to a cache included.
        output_tokens: of the answer, reasoning included.
        cached_tokens: of the prompt, read from the provider's cache.
        cache_write_tokens: of the prompt, written to the provider's cache.
        reasoning_tokens: of the answer, thought and not shown.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@attrs.frozen
class Choice:
    """One of the answers that a model wrote.

    Args:
        text: what it wrote.
        finish_reason: why it ended: "stop", "length", "content_filter" and so on, in OpenAI's
            words whatever the provider's are.
    """

    text: str
    finish_reason: str | None = None


@attrs.frozen(kw_only=True)
class Response:
    """The answer to a `Request`, and what it took.

    Args:
        text: what the model wrote; the first of `choices`, empty for embeddings.
        model: the model that answered, as the provider names it.
        finish_reason: why it ended: "stop", "length", "content_filter" and so on.
        usage: the tokens the provider reports; zero where it reports none.
        cost_usd: what the call cost in USD; None when the model's price is not known.
        http_requests: how many HTTP requests it took, retries included; 0 when the answer was
            shared with an identical request.
        seconds: from the first byte sent to the last byte received, of the attempt that answered.
        choices: every answer, in the order of prompt and choice: number ``i * n + j`` is answer j
            to prompt i. Empty for embeddings.
        embeddings: the vector of each text, in the order of the texts. Empty for other tasks.
        first_byte_s: seconds until the first piece of the answer; None if that was not seen.
        maybe_billed: how many other HTTP requests of this call may have been charged although
            their answer never came or was not wanted (L3).
        host: where the answer came from, which tells which of several endpoints answered.
        route: the way it was had: "live", "flex" or "batch" for a call of its own; "list" or
            "pack" for a part of one; "joined" to an identical request's, or from the "cache".
        tier: the service tier whose price it has: what the provider says, or else what was asked.
        body: all that the provider said, in its own shape, for what has no field here: calls of
            tools, log probabilities, citations. Of an answer that came in a list with others, its
            own part, without the usage. None where the provider wrote no such body for this request
            alone: for streams and packs. Read it only; who shares an answer shares it.
        request_id: by which the provider knows the HTTP request; empty if it does not say.
    """

    text: str
    model: str
    finish_reason: str | None
    usage: Usage
    cost_usd: Decimal | None
    http_requests: int = 1
    seconds: float = 0.0
    choices: tuple[Choice, ...] = ()
    embeddings: tuple[tuple[float, ...], ...] = ()
    first_byte_s: float | None = None
    maybe_billed: int = 0
    host: str = ""
    route: str = "live"
    tier: str = "default"
    body: Mapping[str, Json] | None = attrs.field(default=None, repr=False, eq=False)
    request_id: str = ""


@attrs.frozen
class Delta:
    """A piece of an answer that is still being written.

    Args:
        text: what was added.
        index: to which of the answers; see `Response.choices`.
    """

    text: str
    index: int = 0
