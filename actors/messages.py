"""Requests to a model, whatever the wire format of the provider."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar, cast, overload

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

from .chat_members import Role, calls_in, members_of_response, read_message
from .json_value import Json, check_json, kind_of
from .responses import Response, ResultT_co, ToolCall
from .tools import Tool, ToolLike, tools_of
from .typed import OutputSchema


def _json_object(_: object, field: "attrs.Attribute[Any]", value: Mapping[str, Json]) -> None:
    if not isinstance(cast("object", value), Mapping):
        raise TypeError(f"{field.name} must be a JSON object, not {kind_of(value)}")
    if value:
        check_json(value, field.name)


@attrs.frozen
class ChatMessage:
    """One message of a chat.

    Args:
        role: the author of the message; "tool" and "function" are for the result of a tool call.
        content: the text of the message.
        extra: further members of the message, sent unchanged, such as `name`, `tool_calls`, or a
            `content` of several parts with images. They override `role` and `content`.
        native: a member of the provider's own response, which goes back unchanged to a provider
            with the same wire format instead of `content` and `extra`: it may have signed
            reasoning. ``content`` of Anthropic, ``output`` of OpenAI's Responses, ``parts`` of
            Gemini. `from_response` sets it.
    """

    role: Role
    content: str = attrs.field(validator=instance_of(str))
    extra: Mapping[str, Json] | None = attrs.field(
        default=None, kw_only=True, hash=False, validator=optional(_json_object)
    )
    native: Mapping[str, Json] | None = attrs.field(
        default=None, kw_only=True, hash=False, repr=False
    )

    @classmethod
    def of(cls, message: object, name: str = "message") -> "ChatMessage":
        """Return a message that is given as the SDKs of OpenAI and Anthropic take it.

        Null members and empty lists are left out: a response used as a message has some.

        Args:
            message: the JSON object.
            name: what it is called in an error.

        Raises:
            ValueError: it is no such message; the text names the member that is wrong.
        """
        role, content, extra, _ = read_message(message, name)
        return cls(role, content, extra=extra)

    @classmethod
    def from_response(cls, response: Response) -> "ChatMessage":
        """Return a response as a message, for the request that continues the chat.

        Args:
            response: the response to a chat. If it has several choices, the first one counts.
        """
        role, content, extra, native = members_of_response(response)
        return cls(role, content, extra=extra, native=native)

    @classmethod
    def tool_result(cls, call: ToolCall, text: str) -> "ChatMessage":
        """Return the message with the result of a tool call.

        Args:
            call: the call, from `tool_calls` of the message before, so that it has an id.
            text: the result for the model.
        """
        return cls("tool", text, extra={"tool_call_id": call.id})

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls in `extra`, each with the id that its result must name."""
        return tuple(calls_in(self.extra))

    def body_with(self, member: str) -> dict[str, Json]:
        """Return `body`, or the native message if it has a member.

        Args:
            member: the member that the messages of a wire format have.
        """
        if self.native is None or member not in self.native:
            return self.body
        return {"role": self.role, **self.native}

    @property
    def body(self) -> dict[str, Json]:
        """The message as a JSON object in the format of OpenAI and Anthropic."""
        body: dict[str, Json] = {"role": self.role, "content": self.content}
        if self.extra is not None:
            body.update(self.extra)
        return body

    @property
    def attachments(self) -> int:
        """The number of parts that are images, sounds or files, those in tool results included."""
        return 0 if self.extra is None else _attachments(self.extra.get("content"))


# The types of such parts begin with one of these.
_ATTACHED = ("image", "input_image", "input_audio", "audio", "file", "document", "video")


def _attachments(parts: Json) -> int:
    count = 0
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict):
            kind = part.get("type")
            count += isinstance(kind, str) and kind.startswith(_ATTACHED)
            count += _attachments(part.get("content"))
    return count


def _messages(given: Iterable[ChatMessage | Mapping[str, object]]) -> tuple[ChatMessage, ...]:
    if isinstance(given, str | Mapping):
        kind = "a string" if isinstance(given, str) else "an object"
        raise TypeError(f"messages must be a list, not {kind}")
    found = list(given)
    for at, one in enumerate(found):
        if not isinstance(one, ChatMessage):
            found[at] = ChatMessage.of(one, f"messages[{at}]")
    return cast("tuple[ChatMessage, ...]", tuple(found))


Task = Literal["chat", "completion", "embedding"]
"""Continue a chat, continue prompts, or compute the vectors of texts."""


Api = Literal["chat", "responses"]
"""An API for chats, where a vendor has two: OpenAI's chat completions or its Responses."""


def _of_chat(request: "Request", _: object, api: Api | None) -> None:
    if api is not None and request.task != "chat":
        raise ValueError(f'api requires task="chat", not task={request.task!r}')


def _fits_task(request: "Request", _: object, inputs: tuple[str, ...]) -> None:
    """Check that a chat has messages only and the other tasks have inputs only."""
    if request.task == "chat":
        if inputs:
            raise ValueError('inputs require task="completion" or task="embedding"')
        if not request.messages:
            raise ValueError("messages must have at least one message")
        return
    if request.messages:
        raise ValueError(f'messages require task="chat", not task={request.task!r}')
    if not inputs or not all(inputs):
        raise ValueError("inputs must have at least one text, and no empty text")


def _names_a_tool(request: "Request", _: object, choice: str) -> None:
    """Check a choice. Without `tools`, they are in `extra_body`, and the provider checks it."""
    names = [tool.name for tool in request.tools]
    if names and choice not in ("auto", "none", "required", *names):
        known = ", ".join(names)
        raise ValueError(f"tool_choice is {choice!r:.80}, but the tools are {known}")


def _texts(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


_T = TypeVar("_T")


def _has_a_schema(request: "Request", _: object, returns: type[_T] | None) -> None:
    """Check that there is a schema of the class, and no other one."""
    if returns is None:
        return
    from .typed import result_type  # noqa: PLC0415  # loads msgspec

    if request.json_schema is not None:
        raise ValueError("returns and json_schema exclude each other: the class has a schema")
    try:
        result_type(cast("object", returns))
    except TypeError as error:
        raise TypeError(f"returns: {error}") from error


_NO_MEMBERS: Mapping[str, Json] = MappingProxyType({})

# Each call makes a request, and these validators of attrs take a tenth of the time of that. So they
# run only where a quick look finds something unusual, which they then accept or explain.
_MOST = 10**9
_above_0 = and_(instance_of(int), gt(0), le(_MOST))
_not_empty = and_(instance_of(str), min_len(1))
_number: Any = instance_of((int, float))
_visible_ascii = matches_re(r"[!-~]{0,255}")


def _at_least_one(request: "Request", field: "attrs.Attribute[int]", value: int) -> None:
    if type(value) is not int or not 1 <= value <= _MOST:
        _above_0(request, field, value)


def _name(request: "Request", field: "attrs.Attribute[str]", value: str) -> None:
    if type(value) is not str or not value:
        _not_empty(request, field, value)


def _key(request: "Request", field: "attrs.Attribute[str]", value: str) -> None:
    if value != "":
        _visible_ascii(request, field, value)


@attrs.frozen(kw_only=True)
class Request(Generic[ResultT_co]):
    """One request to a model. `Request[Label]` declares that its result is a `Label`.

    If the wire format of the provider has no equivalent of a field, the call fails with
    `BadRequest`, which names the field, before anything is sent.

    Args:
        model: the provider's name of the model.
        messages: the messages of a chat so far, at least one. A message may be given as the SDKs
            of OpenAI and Anthropic take it: ``{"role": "user", "content": "Hi"}``.
        inputs: the prompts to continue or the texts to embed, at least one. Not for a chat.
        task: "chat", "completion" (continue each prompt) or "embedding" (a vector for each text).
        max_tokens: the most tokens of each generated text; None for the provider's default.
        max_tokens_name: the member of the body that `max_tokens` is sent as, where the format has
            two names for it; None for the usual one of the vendor.
        n: the number of texts to generate for each chat or prompt. All of them are billed.
        temperature: the sampling temperature, 0 to 2; None for the provider's default.
        top_p: the probability mass to sample from, above 0 and up to 1; None for the provider's
            default.
        stop: texts that end the generation.
        seed: a seed for repeatable sampling. A provider may ignore it.
        json_schema: a JSON schema that the generated text, which is JSON then, must match.
        returns: the class of the result, from which the JSON schema follows; None for text. It may
            be an attrs class, a dataclass, a TypedDict, a NamedTuple, a `msgspec.Struct` or a
            pydantic model, or a type such as ``list[Label]``.
        tools: the tools that the model may call. A tool may be given as a function (see `Tool.of`),
            or as the SDKs of OpenAI, Anthropic and Google take it (see `Tool.defined`).
        tool_choice: "auto" (the model decides), "none", "required" (at least one call), or the name
            of the tool to call; None for the provider's default.
        dimensions: the number of dimensions of each vector; None for the model's default.
        api: "chat" (chat completions) or "responses", for a chat at a vendor that has both APIs;
            None for that of the endpoint.
        extra_body: further members of the JSON body, sent unchanged.
        cacheable: declares that one response may serve every identical request (L6).
        packable: declares that the request may be combined with others that have the same
            instruction into one prompt. For a chat whose last message is a short item.
        deadline: seconds within which the response is needed. The router picks the cheapest route
            that is fast enough. None for as soon as possible.
        idempotency_key: the identity of this call over all its attempts: at most 255 visible ASCII
            characters. A key is generated if it is empty.

    Raises:
        ValueError, TypeError: a field is out of its range; the message names the field.
    """

    model: str = attrs.field(validator=_name)
    messages: tuple[ChatMessage, ...] = attrs.field(default=(), converter=_messages)
    task: Task = attrs.field(default="chat", validator=in_(("chat", "completion", "embedding")))
    inputs: tuple[str, ...] = attrs.field(
        default=(), converter=_texts, validator=[deep_iterable(instance_of(str)), _fits_task]
    )
    max_tokens: int | None = attrs.field(default=None, validator=optional(_at_least_one))
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] | None = attrs.field(
        default=None, validator=in_((None, "max_tokens", "max_completion_tokens"))
    )
    n: int = attrs.field(default=1, validator=_at_least_one)
    temperature: float | None = attrs.field(
        default=None, validator=optional(and_(_number, ge(0), le(2)))
    )
    top_p: float | None = attrs.field(default=None, validator=optional(and_(_number, gt(0), le(1))))
    stop: tuple[str, ...] = attrs.field(
        default=(), converter=_texts, validator=deep_iterable(_not_empty)
    )
    seed: int | None = attrs.field(default=None, validator=optional(instance_of(int)))
    json_schema: Mapping[str, Json] | None = attrs.field(
        default=None, validator=optional(_json_object)
    )
    returns: type[ResultT_co] | None = attrs.field(default=None, validator=_has_a_schema)
    tools: tuple[Tool, ...] = attrs.field(default=(), converter=tools_of)
    tool_choice: str | None = attrs.field(
        default=None, validator=optional([instance_of(str), _names_a_tool])
    )
    dimensions: int | None = attrs.field(default=None, validator=optional(_at_least_one))
    api: Api | None = attrs.field(
        default=None, validator=[in_((None, "chat", "responses")), _of_chat]
    )
    extra_body: Mapping[str, Json] = attrs.field(factory=dict[str, Json], validator=_json_object)
    cacheable: bool = False
    packable: bool = False
    deadline: float | None = attrs.field(default=None, validator=optional(gt(0)))
    idempotency_key: str = attrs.field(default="", validator=_key)

    @property
    def output_schema(self) -> OutputSchema | None:
        """The JSON schema of the text, from `returns` or `json_schema`; None if it is any text."""
        if self.returns is not None:
            from .typed import result_type  # noqa: PLC0415  # loads msgspec

            return result_type(cast("object", self.returns)).output
        return None if self.json_schema is None else OutputSchema("answer", self.json_schema)

    @overload
    @classmethod
    def of(
        cls,
        prompt: str,
        *,
        model: str,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        tools: Iterable[ToolLike] = (),
        returns: None = None,
        json_schema: Mapping[str, Json] | None = None,
        stop: str | Iterable[str] = (),
        seed: int | None = None,
        api: Api | None = None,
        extra_body: Mapping[str, Json] = ...,
        cacheable: bool = False,
        packable: bool = False,
        deadline: float | None = None,
    ) -> "Request[None]": ...

    @overload
    @classmethod
    def of(
        cls,
        prompt: str,
        *,
        model: str,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        tools: Iterable[ToolLike] = (),
        returns: type[_T],
        stop: str | Iterable[str] = (),
        seed: int | None = None,
        api: Api | None = None,
        extra_body: Mapping[str, Json] = ...,
        cacheable: bool = False,
        packable: bool = False,
        deadline: float | None = None,
    ) -> "Request[_T]": ...

    @classmethod
    def of(
        cls,
        prompt: str,
        *,
        model: str,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        tools: Iterable[ToolLike] = (),
        returns: type[object] | None = None,
        json_schema: Mapping[str, Json] | None = None,
        stop: str | Iterable[str] = (),
        seed: int | None = None,
        api: Api | None = None,
        extra_body: Mapping[str, Json] = _NO_MEMBERS,
        cacheable: bool = False,
        packable: bool = False,
        deadline: float | None = None,
    ) -> "Request[object]":
        """Make a chat request with one user message.

        Args:
            prompt: the text of the user message.
            model: the provider's name of the model.
            system: the text of a system message before it; None for no system message.
            max_tokens: as for `Request`, like the arguments that follow.
            temperature: 0 to 2.
            tools: the tools that the model may call.
            returns: the class of the result.
            json_schema: a JSON schema that the generated text must match.
            stop: texts that end the generation.
            seed: a seed for repeatable sampling.
            api: the API to use, where the vendor has two.
            extra_body: further members of the JSON body.
            cacheable: whether one response may serve every identical request.
            packable: whether the request may be combined with others into one prompt.
            deadline: seconds within which the response is needed.
        """
        user = ChatMessage("user", prompt)
        return Request(
            model=model,
            messages=(user,) if system is None else (ChatMessage("system", system), user),
            max_tokens=max_tokens,
            temperature=temperature,
            tools=tools,
            returns=returns,
            json_schema=json_schema,
            stop=stop,
            seed=seed,
            api=api,
            extra_body=extra_body,
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
    ) -> "Request[None]":
        """Make a request for the vectors of texts.

        Args:
            texts: one text or several.
            model: the provider's name of the model.
            cacheable: whether one response may serve every identical request.
            deadline: seconds within which the vectors are needed; None for as soon as possible.
        """
        return Request(
            model=model,
            task="embedding",
            inputs=_texts(texts),
            cacheable=cacheable,
            deadline=deadline,
        )
