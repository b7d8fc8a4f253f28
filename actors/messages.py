"""Requests to a model, whatever the wire format of the provider."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar, cast, get_args, overload

import attrs
from attrs.validators import and_, optional

from .chat_message import ChatMessage, chat_messages
from .extra_headers import check_extra_headers, header_names
from .json_value import Json, is_json_object, kind_of
from .responses import ResultT_co
from .tools import Tool, ToolLike, tools_of
from .typed import OutputSchema
from .validation import deep_iterable, ge, gt, in_, instance_of, le, listed, not_empty

Task = Literal["chat", "completion", "embedding", "moderation"]
"""Continue a chat, continue prompts, compute the vectors of texts, or classify texts as harmful."""


Api = Literal["chat", "responses"]
"""An API for chats, where a vendor has two: OpenAI's chat completions or its Responses."""

BodyDialect = Literal["chat", "responses", "anthropic"]
"""An API for chats, in whose words a request can be written."""

_DIALECTS: tuple[BodyDialect | None, ...] = ("chat", "responses", "anthropic")
_APIS: tuple[Api | None, ...] = ("chat", "responses")


def _fits_task(request: "Request", _: object, inputs: tuple[str, ...]) -> None:
    """Check that a chat has messages only and the other tasks have inputs only."""
    for one in inputs:
        if not isinstance(cast("object", one), str):
            raise TypeError(f"inputs must be texts, not {kind_of(one)}")
    if request.task == "chat":
        if inputs:
            raise ValueError('inputs require task="completion", "embedding" or "moderation"')
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


def _inputs(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else listed(value, "inputs")


def _stop(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else listed(value, "stop")


_T = TypeVar("_T")


def _has_a_schema(request: "Request", _: object, returns: type[_T] | None) -> None:
    """Check that there is a schema of the class, and no other one."""
    if returns is None:
        return
    from .typed import result_type  # noqa: PLC0415  # loads msgspec

    if request.json_schema is not None:
        raise ValueError("returns and json_schema exclude each other: the class has a schema")
    if isinstance(cast("object", returns), Mapping):
        raise TypeError("returns must be a class; a schema of your own is json_schema={...}")
    try:
        result_type(cast("object", returns))
    except TypeError as error:
        raise TypeError(f"returns: {error}") from error


_NO_MEMBERS: Mapping[str, Json] = MappingProxyType({})
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_MOST = 10**9  # tokens, choices and dimensions; more is a mistake

# Each call makes a request, and these validators of attrs take a tenth of the time of that. So they
# run only where a quick look finds something unusual, which they then accept or explain.
_above_0 = and_(instance_of(int), gt(0), le(_MOST))
_some_text = and_(instance_of(str), not_empty)
_known_api = in_(_APIS)
_known_dialect = in_(_DIALECTS)
_number: Any = instance_of((int, float))
_VISIBLE_ASCII = re.compile(r"[!-~]{0,255}")


def _at_least_one(request: "Request", field: "attrs.Attribute[int]", value: int) -> None:
    if type(value) is not int or not 1 <= value <= _MOST:
        _above_0(request, field, value)


def _name(request: "Request", field: "attrs.Attribute[str]", value: str) -> None:
    if type(value) is not str or not value:
        _some_text(request, field, value)


def _of_chat(request: "Request", field: "attrs.Attribute[Any]", api: Api | None) -> None:
    if api is None:
        return
    _known_api(request, field, api)
    if request.task != "chat":
        raise ValueError(f'api requires task="chat", not task={request.task!r}')


def _dialect_of_chat(
    request: "Request", field: "attrs.Attribute[Any]", dialect: BodyDialect | None
) -> None:
    if dialect is None:
        return
    _known_dialect(request, field, dialect)
    if request.task != "chat":
        raise ValueError(f'dialect requires task="chat", not task={request.task!r}')


def _key(request: "Request", field: "attrs.Attribute[str]", value: str) -> None:
    if value != "":
        instance_of(str)(request, field, value)
        if not _VISIBLE_ASCII.fullmatch(value):
            raise ValueError(
                f"{field.name} must be at most 255 visible ASCII characters, not {kind_of(value)}"
            )


@attrs.frozen(kw_only=True)
class Request(Generic[ResultT_co]):
    """One request to a model. `Request[Label]` declares that its result is a `Label`.

    If the wire format of the provider has no equivalent of a field, the call fails with
    `BadRequest`, which names the field, before anything is sent.

    Args:
        model: the provider's name of the model.
        messages: the messages of a chat so far, at least one. A message may be given as the SDKs
            of OpenAI and Anthropic take it: ``{"role": "user", "content": "Hi"}``.
        inputs: the prompts to continue, or the texts to embed or to classify, at least one. Not for
            a chat.
        task: "chat", "completion" (continue each prompt), "embedding" (a vector for each text) or
            "moderation" (the kinds of harm in each text).
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
        dialect: the API in whose words `messages`, `tools` and `extra_body` are: "chat" and
            "responses" of OpenAI, or "anthropic". A provider with that wire format gets them
            unchanged. For another one they are translated, and the call fails with `BadRequest`,
            which names the member, if one has an effect on the response and no equivalent. None:
            every provider gets `extra_body` unchanged.
        extra_body: further members of the JSON body, sent unchanged.
        extra_headers: further headers of the HTTP request, such as ``anthropic-beta``, wherever it
            is sent; they replace those of the `Endpoint`, and are added to its lists of features.
            Names that belong to secrets or to HTTP are refused. Such a call takes no batch.
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
    messages: tuple[ChatMessage, ...] = attrs.field(default=(), converter=chat_messages)
    task: Task = attrs.field(default="chat", validator=in_(get_args(Task)))
    inputs: tuple[str, ...] = attrs.field(default=(), converter=_inputs, validator=_fits_task)
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
        default=(), converter=_stop, validator=deep_iterable(_some_text)
    )
    seed: int | None = attrs.field(default=None, validator=optional(instance_of(int)))
    json_schema: Mapping[str, Json] | None = attrs.field(
        default=None, validator=optional(is_json_object)
    )
    returns: type[ResultT_co] | None = attrs.field(default=None, validator=_has_a_schema)
    tools: tuple[Tool, ...] = attrs.field(default=(), converter=tools_of)
    tool_choice: str | None = attrs.field(
        default=None, validator=optional([instance_of(str), _names_a_tool])
    )
    dimensions: int | None = attrs.field(default=None, validator=optional(_at_least_one))
    api: Api | None = attrs.field(default=None, validator=_of_chat)
    dialect: BodyDialect | None = attrs.field(default=None, validator=_dialect_of_chat)
    extra_body: Mapping[str, Json] = attrs.field(factory=dict[str, Json], validator=is_json_object)
    extra_headers: Mapping[str, str] = attrs.field(
        factory=dict[str, str], converter=header_names, validator=check_extra_headers, repr=False
    )
    cacheable: bool = attrs.field(default=False, validator=instance_of(bool))
    packable: bool = attrs.field(default=False, validator=instance_of(bool))
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
        tool_choice: str | None = None,
        returns: None = None,
        json_schema: Mapping[str, Json] | None = None,
        stop: str | Iterable[str] = (),
        seed: int | None = None,
        api: Api | None = None,
        extra_body: Mapping[str, Json] = ...,
        extra_headers: Mapping[str, str] = ...,
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
        tool_choice: str | None = None,
        returns: type[_T],
        stop: str | Iterable[str] = (),
        seed: int | None = None,
        api: Api | None = None,
        extra_body: Mapping[str, Json] = ...,
        extra_headers: Mapping[str, str] = ...,
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
        tool_choice: str | None = None,
        returns: type[object] | None = None,
        json_schema: Mapping[str, Json] | None = None,
        stop: str | Iterable[str] = (),
        seed: int | None = None,
        api: Api | None = None,
        extra_body: Mapping[str, Json] = _NO_MEMBERS,
        extra_headers: Mapping[str, str] = _NO_HEADERS,
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
            tool_choice: whether it must call one, and which.
            returns: the class of the result.
            json_schema: a JSON schema that the generated text must match.
            stop: texts that end the generation.
            seed: a seed for repeatable sampling.
            api: the API to use, where the vendor has two.
            extra_body: further members of the JSON body.
            extra_headers: further headers of the HTTP request.
            cacheable: whether one response may serve every identical request.
            packable: whether the request may be combined with others into one prompt.
            deadline: seconds within which the response is needed.

        Raises:
            ValueError, TypeError: as for `Request`.
        """
        if not isinstance(cast("object", prompt), str):
            instead = "Request(messages=...) takes several messages"
            raise TypeError(f"prompt must be a string, not {kind_of(prompt)}; {instead}")
        user = ChatMessage("user", prompt)
        return Request(
            model=model,
            messages=(user,) if system is None else (ChatMessage("system", system), user),
            max_tokens=max_tokens,
            temperature=temperature,
            tools=tools,
            tool_choice=tool_choice,
            returns=returns,
            json_schema=json_schema,
            stop=stop,
            seed=seed,
            api=api,
            extra_body=extra_body,
            extra_headers=extra_headers,
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
            inputs=_inputs(texts),
            cacheable=cacheable,
            deadline=deadline,
        )
