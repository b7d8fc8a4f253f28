"""What the holder and the workers of a shared run send each other survives the way as bytes."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    BadRequest,
    BudgetExceeded,
    CallContext,
    CallFailed,
    ChatMessage,
    Choice,
    LedgerUnavailable,
    RateLimited,
    Request,
    Response,
    ResultNotValid,
    TokenLogprob,
    Tool,
    ToolCall,
    TurnTooLate,
    Usage,
    class_of_schema,
)
from callsheet.bulk.shared.wire import (
    WIRE_VERSION,
    CallEnd,
    UnsendableRow,
    decode_call,
    decode_end,
    encode_call,
    encode_end,
)
from callsheet.runtime import ActorCrashed, ActorStopped, AskTimedOut, Verdict

texts = st.text(st.characters(), max_size=20)  # lone surrogates, too
names = st.text("abcdefgh_", min_size=1, max_size=8)
numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(names, values, max_size=3)
counts = st.integers(0, 10**12)
seconds = st.floats(0, 1e6)
money = st.decimals(0, 1000, allow_nan=False, allow_infinity=False)
usages = st.builds(Usage, counts, counts, counts, counts, counts, counts)


@attrs.frozen
class Label:
    """A result whose class no queue can carry."""

    name: Literal["good", "bad"]
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    why: str | None = None


class Loose(msgspec.Struct):
    """A result without a strict schema."""

    members: dict[str, int]


def look_up(city: str, days: int = 1) -> str:
    """Return the weather.

    Args:
        city: the name of the city.
        days: the number of days.
    """
    return f"{city} {days}"


RETURNS = (
    None,
    Label,
    Loose,
    list[Label],
    class_of_schema({"type": "object", "properties": {"a": {"type": "string"}}}, "mine"),
)
TOOLS = (
    Tool(name="plain", description="Does it.", parameters={"type": "object"}),
    Tool.of(look_up),
    *Tool.defined({"type": "web_search_20250305", "name": "web_search", "max_uses": 3}),
    *Tool.defined({"type": "function", "function": {"name": "f", "parameters": {"a": [1]}}}),
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any request that a row can have."""
    task = draw(st.sampled_from(["chat", "completion", "embedding", "moderation"]))
    common = {
        "model": draw(names),
        "max_tokens": draw(st.none() | st.integers(1, 10**6)),
        "max_tokens_name": draw(st.sampled_from([None, "max_tokens", "max_completion_tokens"])),
        "n": draw(st.integers(1, 5)),
        "temperature": draw(st.none() | st.floats(0, 2)),
        "top_p": draw(st.none() | st.floats(0.1, 1)),
        "stop": draw(st.lists(texts.filter(bool), max_size=2)),
        "seed": draw(st.none() | st.integers()),
        "dimensions": draw(st.none() | st.integers(1, 9)),
        "extra_body": draw(objects),
        "extra_headers": draw(st.sampled_from([{}, {"anthropic-beta": "a-1"}])),
        "cacheable": draw(st.booleans()),
        "packable": draw(st.booleans()),
        "deadline": draw(st.none() | st.floats(0.1, 1e6)),
        "idempotency_key": draw(st.sampled_from(["", "key-1"])),
    }
    if task != "chat":
        inputs = draw(st.lists(texts.filter(bool), min_size=1, max_size=3))
        return Request(task=task, inputs=inputs, **common)
    message = st.builds(
        ChatMessage,
        st.sampled_from(["system", "user", "assistant", "tool"]),
        texts,
        extra=st.none() | objects,
        native=st.none() | objects,
    )
    returns = draw(st.sampled_from(RETURNS))
    tools = draw(st.lists(st.sampled_from(TOOLS), unique_by=lambda tool: tool.name))
    return Request(
        messages=tuple(draw(st.lists(message, min_size=1, max_size=3))),
        returns=returns,
        json_schema=draw(st.none() | objects) if returns is None else None,
        tools=tools,
        tool_choice="auto" if tools and draw(st.booleans()) else None,
        api=draw(st.sampled_from([None, "chat", "responses"])),
        dialect=draw(st.sampled_from([None, "chat", "responses", "anthropic"])),
        **common,
    )


contexts = st.builds(
    CallContext,
    names,
    post=st.none() | names,
    step=st.none() | names,
    lane=texts,
    tenant=texts,
    allowed=st.none() | st.frozensets(st.sampled_from(["cache", "join", "lists"])),
)


@given(requests(), contexts)
def test_what_a_worker_needs_of_a_row_survives(request: Request, context: CallContext) -> None:
    there, ids = decode_call(encode_call(request, context))

    assert ids == context
    assert there.output_schema == request.output_schema
    assert [tool.told for tool in there.tools] == [tool.told for tool in request.tools]
    assert [one.strict_schema for one in there.tools] == [
        one.strict_schema for one in request.tools
    ]
    without_code = {"returns": None, "tools": (), "tool_choice": None}
    assert attrs.evolve(there, **without_code) == attrs.evolve(request, **without_code)
    assert (there.returns is None) == (request.returns is None)
    assert encode_call(there, ids) == encode_call(request, context)


choices = st.builds(
    Choice,
    texts,
    st.none() | names,
    tool_calls=st.lists(st.builds(ToolCall, names, texts, texts), max_size=2).map(tuple),
    reasoning=texts,
    refusal=st.none() | texts,
    logprobs=st.lists(
        st.builds(
            TokenLogprob,
            texts,
            st.none() | st.floats(allow_nan=False),
            st.lists(st.tuples(texts, st.floats(allow_nan=False)), max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    annotations=st.lists(objects, max_size=2).map(tuple),
)
responses = st.builds(
    Response,
    text=texts,
    model=names,
    finish_reason=st.none() | names,
    usage=usages,
    cost_usd=st.none() | money,
    http_requests=st.integers(0, 9),
    seconds=seconds,
    choices=st.lists(choices, max_size=3).map(tuple),
    embeddings=st.lists(
        st.lists(st.floats(allow_nan=False), max_size=4).map(tuple), max_size=3
    ).map(tuple),
    first_byte_s=st.none() | seconds,
    maybe_billed=st.integers(0, 9),
    queued_s=seconds,
    host=names,
    route=st.sampled_from(["live", "flex", "pack", "joined", "cache"]),
    tier=names,
    body=st.none() | objects,
    is_assembled=st.booleans(),
    request_id=texts,
    reported_cost_usd=st.none() | money,
    listed_cost_usd=st.none() | money,
    key_name=texts,
    fallback=st.none() | st.integers(0, 9),
    usage_doubt=texts,
)


@given(responses, names, st.integers(0, 4))
def test_a_response_survives(response: Response, worker: str, earlier: int) -> None:
    end = CallEnd(response, worker, earlier)

    there = decode_end(encode_end(end))

    assert there == end
    assert isinstance(there.outcome, Response)
    assert there.outcome.body == response.body  # which no comparison of responses looks at
    assert there.outcome.is_assembled == response.is_assembled


def failed(kind: type[CallFailed], fields: Mapping[str, object]) -> CallFailed:
    error = kind("it failed")
    error.__dict__.update(fields)
    return error


error_fields = st.fixed_dictionaries(
    {},
    optional={
        "attempts": st.integers(0, 9),
        "status": st.none() | st.integers(100, 599),
        "billed": st.sampled_from(["no", "maybe"]),
        "maybe_billed": st.integers(0, 9),
        "usage": usages,
        "cost_usd": st.none() | money,
        "is_transient": st.booleans(),
        "body": st.none() | objects,
        "request_id": texts,
        "queued_s": seconds,
        "back_in_s": st.none() | seconds,
    },
)


@given(
    st.sampled_from([CallFailed, BadRequest, RateLimited, LedgerUnavailable, TurnTooLate]),
    error_fields,
)
def test_the_error_of_a_call_survives(kind: type[CallFailed], fields: Mapping[str, object]) -> None:
    error = failed(kind, fields)

    there = decode_end(encode_end(CallEnd(error))).outcome

    assert type(there) is kind
    assert str(there) == str(error)
    assert vars(there) == vars(error)


def test_errors_with_values_of_their_own_survive() -> None:
    answer = Response(
        text="no", model="m", finish_reason="stop", usage=Usage(3, 4), cost_usd=Decimal("0.1")
    )
    unsupported = BadRequest("top_p is not supported")
    unsupported.field = "top_p"
    for error in (
        BudgetExceeded(
            "over", budget="of a run", left_usd=Decimal("0.1"), needs_usd=None, is_shared=True
        ),
        ResultNotValid("no valid Label", response=answer, reason="no JSON"),
        TurnTooLate("too late", wait_s=4.5),
        unsupported,
    ):
        there = decode_end(encode_end(CallEnd(error))).outcome
        assert type(there) is type(error)
        assert vars(there) == vars(error)


def test_errors_of_the_runtime_survive_with_their_verdict() -> None:
    crashed = ActorCrashed("run/limiter", Verdict.MAY_HAVE_RUN, KeyError("x"))
    for error in (
        crashed,
        ActorStopped("run/limiter"),
        AskTimedOut("run/requester", Verdict.NOT_STARTED),
    ):
        there = decode_end(encode_end(CallEnd(error))).outcome
        assert type(there) is type(error)
        assert str(there) == str(error)
        assert vars(there) == vars(error)
    refused = decode_end(encode_end(CallEnd(ValueError("n is not supported")))).outcome
    assert (type(refused), str(refused)) == (ValueError, "n is not supported")


class OfMyStage(RateLimited):
    """An error that only the worker knows."""


def test_an_error_that_the_holder_does_not_know_keeps_its_name_and_its_kind() -> None:
    error = OfMyStage("wait")
    error.is_transient = True

    there = decode_end(encode_end(CallEnd(error))).outcome

    assert isinstance(there, RateLimited)
    assert type(there).__name__ == "OfMyStage"
    assert there.is_transient
    bug = decode_end(encode_end(CallEnd(KeyError("x")))).outcome
    assert isinstance(bug, CallFailed)
    assert type(bug).__name__ == "KeyError"


def test_a_body_that_is_nested_too_deeply_is_left_out() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    answer = Response(
        text="a", model="m", finish_reason=None, usage=Usage(), cost_usd=None, body={"a": deep}
    )

    there = decode_end(encode_end(CallEnd(answer))).outcome

    assert isinstance(there, Response)
    assert (there.text, there.body) == ("a", None)
    refused = RateLimited("slow", body={"a": deep}, status=429)
    error = decode_end(encode_end(CallEnd(refused))).outcome
    assert isinstance(error, RateLimited)
    assert (error.status, error.body) == (429, None)
    while deep:  # without a recursion of the interpreter
        deep = deep.pop()


def test_what_is_no_json_is_refused_with_a_remedy() -> None:
    request = Request.of("Hi", model="m")
    object.__setattr__(request, "extra_body", {"at": object()})

    with pytest.raises(UnsendableRow, match="extra_body as JSON values"):
        encode_call(request, CallContext("row-1"))


@given(st.binary(max_size=40))
def test_other_bytes_are_refused(value: bytes) -> None:
    for decode in (decode_call, decode_end):
        with pytest.raises(ValueError, match=r"of a shared run|same version"):
            decode(value)


def test_another_version_is_named() -> None:
    value = bytearray(encode_call(Request.of("Hi", model="m"), CallContext("row-1")))
    value[0] = WIRE_VERSION + 1

    with pytest.raises(ValueError, match="use the same version of Callsheet on all machines"):
        decode_call(bytes(value))
