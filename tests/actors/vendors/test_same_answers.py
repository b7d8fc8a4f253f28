"""L10: an answer is the same whole and cut anywhere into a stream, in each format."""

import json

import attrs
import pytest
from bodies import chat
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import DecodedResponse, Request
from callsheet.actors.vendors import AnswerReader
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.gemini import GeminiContent
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.openai_lists import OpenAICompletions
from callsheet.actors.vendors.openai_responses import OpenAIResponses

texts = st.text(st.characters(codec="utf-8"), max_size=12)
words = st.text("abcxyz_", min_size=1, max_size=6)
numbers = st.floats(-20, 0)
objects = st.dictionaries(words, st.integers(-9, 9) | texts | st.none() | st.booleans(), max_size=3)
counts = st.integers(0, 10_000)


@st.composite
def divided(draw, text, *, at_least=0):
    """Return the pieces of a text; empty ones, too."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), min_size=at_least, max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


tokens = st.lists(
    st.fixed_dictionaries(
        {"token": texts, "logprob": numbers},
        optional={
            "top_logprobs": st.lists(
                st.fixed_dictionaries({"token": texts, "logprob": numbers}), max_size=2
            )
        },
    ),
    max_size=3,
)


def sse(events, *, done=False):
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, *(["data: [DONE]\n\n"] if done else [])]).encode()


# ------------------------------------------------------------------ OpenAI


@st.composite
def openai_chats(draw):
    """Return (request, whole body, bytes of a stream with the same)."""
    n = draw(st.integers(1, 3))
    whole, chunks = [], []
    for index in range(n):
        message, deltas = draw(openai_messages())
        reason = draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
        probable = draw(st.none() | tokens)
        logprobs = None if probable is None else {"content": probable, "refusal": None}
        choice = {"index": index, "message": message, "finish_reason": reason}
        whole.append(choice | {"logprobs": logprobs})
        own = [{"index": index, "delta": delta, "finish_reason": None} for delta in deltas]
        own += [
            {"index": index, "delta": {}, "logprobs": {"content": [token]}}
            for token in probable or ()
        ]
        chunks.append([*own, {"index": index, "delta": {}, "finish_reason": reason}])
    usage = {"prompt_tokens": draw(counts), "completion_tokens": draw(counts)}
    members = {"id": "c1", "model": "m-1", "service_tier": draw(st.sampled_from(["default", "x"]))}
    events = [{**members, "choices": [choice]} for choice in draw(interleaved(chunks))]
    events = [*events, {**members, "choices": [], "usage": usage}]
    body = {**members, "object": "chat.completion", "choices": whole, "usage": usage}
    return chat(n=n), body, sse(events, done=draw(st.booleans()))


@st.composite
def interleaved(draw, lists):
    """Return the items of several lists, each list in its order."""
    order = [at for at, items in enumerate(lists) for _ in items]
    left = [iter(items) for items in lists]
    return [next(left[at]) for at in draw(st.permutations(order))]


@st.composite
def openai_messages(draw):
    """Return a message, and deltas with the same."""
    message, deltas = {"role": "assistant", "content": None}, [{"role": "assistant"}]
    name = draw(st.sampled_from(["reasoning_content", "reasoning"]))
    for member in (name, "content", "refusal"):
        text = draw(st.none() | texts)
        if text is not None:
            message[member] = text
            deltas += [{member: piece} for piece in draw(divided(text))]
    calls = draw(st.lists(openai_calls(), max_size=2))
    if calls:
        message["tool_calls"] = [call for call, _ in calls]
        for index, (_, fragments) in enumerate(calls):
            deltas += [{"tool_calls": [{"index": index, **one}]} for one in fragments]
    notes = draw(st.lists(objects, max_size=2))
    if notes:
        message["annotations"] = notes
        deltas.append({"annotations": notes})
    return message, deltas


@st.composite
def openai_calls(draw):
    """Return a tool call, and fragments with the same; the arguments may be no JSON."""
    name, call_id = draw(words), f"call_{draw(st.uuids())}"
    arguments = draw(objects.map(json.dumps) | texts)
    first, *rest = draw(divided(arguments, at_least=1))
    begin = {"id": call_id, "type": "function", "function": {"name": name, "arguments": first}}
    call = {**begin, "function": {"name": name, "arguments": arguments}}
    return call, [begin, *({"function": {"arguments": piece}} for piece in rest)]


@st.composite
def completions(draw):
    prompts, n = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    whole, chunks = [], []
    for index in range(prompts * n):
        text, reason = draw(texts), draw(st.sampled_from(["stop", "length"]))
        probable = draw(st.none() | st.lists(st.tuples(texts, numbers), max_size=3))
        logprobs = None
        if probable is not None:
            logprobs = {
                "tokens": [token for token, _ in probable],
                "token_logprobs": [number for _, number in probable],
                "top_logprobs": [{token: number} for token, number in probable],
            }
        end = {"index": index, "finish_reason": reason}
        whole.append({**end, "text": text, "logprobs": logprobs})
        pieces = [{"index": index, "text": piece} for piece in draw(divided(text))]
        for at in range(len(probable or ())):
            one = {name: values[at : at + 1] for name, values in logprobs.items()}
            pieces.append({"index": index, "text": "", "logprobs": one})
        chunks.append([*pieces, {**end, "text": ""}])
    usage = {"prompt_tokens": draw(counts), "completion_tokens": draw(counts)}
    events = [{"model": "m-1", "choices": [choice]} for choice in draw(interleaved(chunks))]
    request = Request(model="m", task="completion", inputs=["a", "b"][:prompts], n=n)
    body = {"model": "m-1", "choices": whole, "usage": usage}
    stream = sse([*events, {"choices": [], "usage": usage}], done=draw(st.booleans()))
    return request, body, stream


# ------------------------------------------------------------------ Anthropic


@st.composite
def anthropic(draw):
    blocks, events = [], []
    for index in range(draw(st.integers(0, 4))):
        block, begin, deltas = draw(anthropic_blocks())
        blocks.append(block)
        events.append({"type": "content_block_start", "index": index, "content_block": begin})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events += draw(st.sampled_from([[], [{"type": "ping"}]]))
        events.append({"type": "content_block_stop", "index": index})
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    started = {"input_tokens": draw(counts), "output_tokens": 1, "service_tier": "standard"}
    ended = {"output_tokens": draw(counts)}
    reasons = ["end_turn", "max_tokens", "tool_use", "refusal", "pause_turn"]
    end = {"stop_reason": draw(st.sampled_from(reasons)), "stop_sequence": None}
    if end["stop_reason"] == "refusal":
        end["stop_details"] = {"type": "refusal", "explanation": draw(texts)}
    stream = [
        {
            "type": "message_start",
            "message": {**head, "content": [], "stop_reason": None, "usage": started},
        },
        *events,
        {"type": "message_delta", "delta": end, "usage": ended},
        {"type": "message_stop"},
    ]
    return chat(), {**head, "content": blocks, **end, "usage": started | ended}, sse(stream)


@st.composite
def anthropic_blocks(draw):
    """Return a block, how it begins in a stream, and its deltas."""
    kind = draw(st.sampled_from(["text", "thinking", "tool_use"]))
    if kind == "tool_use":
        given = draw(objects)
        begin = {"type": kind, "id": "toolu_1", "name": draw(words), "input": {}}
        written = json.dumps(given) if given else ""
        pieces = draw(divided(written))
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        return {**begin, "input": given}, begin, deltas
    text = draw(texts)
    deltas = [{"type": f"{kind}_delta", kind: piece} for piece in draw(divided(text))]
    block = {"type": kind, kind: text}
    if kind == "thinking":
        deltas.append({"type": "signature_delta", "signature": "sig"})
        return {**block, "signature": "sig"}, {"type": kind, kind: "", "signature": ""}, deltas
    cited = draw(st.lists(objects, max_size=2))
    deltas += [{"type": "citations_delta", "citation": one} for one in cited]
    return {**block, "citations": cited or None}, {"type": kind, kind: ""}, deltas


# ------------------------------------------------------------------ Gemini


@st.composite
def gemini(draw):
    n = draw(st.integers(1, 2))
    candidates, chunks = [], []
    for index in range(n):
        parts, pieces = [], []
        for part, divided_part in draw(st.lists(gemini_parts(), max_size=4)):
            parts.append(part)
            pieces += divided_part
        last = {"finishReason": draw(st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY"]))}
        if cited := draw(st.lists(objects, max_size=2)):
            last["citationMetadata"] = {"citationSources": cited}
        if probable := draw(st.lists(st.tuples(texts, numbers), max_size=2)):
            found = [{"token": token, "logProbability": number} for token, number in probable]
            last["logprobsResult"] = {"chosenCandidates": found}
        content = {"role": "model", "parts": parts}
        candidates.append({"index": index, "content": content, **last})
        own = [{"index": index, "content": {"parts": [piece]}} for piece in pieces]
        chunks.append([*own, {"index": index, "content": {"role": "model"}, **last}])
    counted = {"promptTokenCount": draw(counts), "candidatesTokenCount": draw(counts)}
    events = [
        {"candidates": [one], "usageMetadata": {"promptTokenCount": 1}, "modelVersion": "g"}
        for one in draw(interleaved(chunks))
    ]
    events.append({"candidates": [], "usageMetadata": counted})
    body = {"candidates": candidates, "usageMetadata": counted, "modelVersion": "g"}
    return chat(n=n), body, sse(events)


@st.composite
def gemini_parts(draw):
    """Return a part, and parts of a stream with the same."""
    if draw(st.booleans()):
        call = {"name": draw(words)} | draw(
            st.fixed_dictionaries({}, optional={"args": objects, "id": words})
        )
        part = {"functionCall": call, "thoughtSignature": "sig"}
        return part, [part]
    kind = draw(st.sampled_from([{}, {"thought": True}]))
    text = draw(texts)
    return {"text": text, **kind}, [{"text": piece, **kind} for piece in draw(divided(text))]


# ------------------------------------------------------------------ OpenAI's Responses


@st.composite
def openai_responses(draw):
    output, events = [], []
    for index in range(draw(st.integers(0, 4))):
        item, begin, pieces = draw(response_items())
        output.append(item)
        place = {"output_index": index}
        events.append({"type": "response.output_item.added", **place, "item": begin})
        events += [{"type": f"response.{kind}", **place, **piece} for kind, piece in pieces]
        events.append({"type": "response.output_item.done", **place, "item": item})
    started = {"id": "resp_1", "object": "response", "model": "m-1", "error": None}
    why = draw(st.sampled_from([None, "max_output_tokens", "content_filter"]))
    status, details = ("incomplete", {"reason": why}) if why else ("completed", None)
    usage = {"input_tokens": draw(counts), "output_tokens": draw(counts)}
    body = {**started, "status": status, "incomplete_details": details, "usage": usage}
    last = {**body, "output": draw(st.sampled_from([output, output, []]))}
    started |= {"status": "in_progress", "output": [], "usage": None}
    stream = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
        *events,
        {"type": f"response.{status}", "response": last},
    ]
    return chat(), {**body, "output": output}, sse(stream, done=draw(st.booleans()))


@st.composite
def response_items(draw):
    """Return an item, how it begins in a stream, and (event, members) of its pieces."""
    kind = draw(st.sampled_from(["message", "reasoning", "function_call", "web_search_call"]))
    head = {"type": kind, "id": f"item_{draw(words)}"}
    if kind == "function_call":
        begin = {**head, "call_id": f"call_{draw(st.uuids())}", "name": draw(words)}
        arguments = draw(objects.map(json.dumps) | texts)
        pieces = [
            ("function_call_arguments.delta", {"delta": piece})
            for piece in draw(divided(arguments))
        ]
        return {**begin, "arguments": arguments}, {**begin, "arguments": ""}, pieces
    if kind == "web_search_call":
        return head, head, [("web_search_call.searching", {})]
    parts, pieces = [], []
    for index in range(draw(st.integers(0, 2))):
        own, event, at = draw(response_parts(kind))
        pieces += [
            (f"{event}.delta", {at: index, "delta": piece}) for piece in draw(divided(own[1]))
        ]
        pieces.append((f"{event}.done", {at: index, own[0]: own[1]}))
        parts.append({"type": own[2], own[0]: own[1], **own[3]})
    name = "content" if kind == "message" else "summary"
    is_told = draw(st.booleans())  # some servers send an item without its pieces
    return {**head, name: parts}, {**head, name: []}, pieces if is_told else []


@st.composite
def response_parts(draw, kind):
    """Return (member, text, type, further members) of a part, its event and its index's name."""
    text = draw(texts)
    if kind == "reasoning":
        return ("text", text, "summary_text", {}), "reasoning_summary_text", "summary_index"
    if draw(st.booleans()):
        return ("refusal", text, "refusal", {}), "refusal", "content_index"
    more = {"annotations": draw(st.lists(objects, max_size=2)), "logprobs": draw(tokens)}
    return ("text", text, "output_text", more), "output_text", "content_index"


FORMATS = {
    "OpenAI's Responses": (OpenAIResponses(), openai_responses()),
    "OpenAI's chats": (OpenAIChat(), openai_chats()),
    "OpenAI's completions": (OpenAICompletions(), completions()),
    "Anthropic's messages": (AnthropicMessages(), anthropic()),
    "Gemini's content": (GeminiContent(), gemini()),
}


def read(form, request, pieces):
    """Return the deltas and the response of a body that arrives in these pieces."""
    reader, deltas = AnswerReader(form, request), []
    for piece in [*pieces, b""]:
        deltas += reader.feed(piece)
        if reader.done:
            break
    return deltas, reader.end()


@pytest.mark.parametrize(("form", "answers"), FORMATS.values(), ids=FORMATS)
@given(data=st.data())
def test_an_answer_is_the_same_whole_and_cut_into_a_stream(form, answers, data):
    request, body, stream = data.draw(answers)
    _, whole = read(form, request, [json.dumps(body).encode()])
    assert isinstance(whole, DecodedResponse)
    assert not whole.is_assembled
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=9)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    deltas, streamed = read(form, request, [piece for piece in pieces if piece])
    assert streamed == whole
    assert streamed.is_assembled
    assert form.decode(streamed.body, request) == whole, "the body is that of a whole response"
    for index, choice in enumerate(whole.choices):
        own = [delta for delta in deltas if delta.index == index]
        assert "".join(delta.text for delta in own) == choice.text
        assert "".join(delta.reasoning for delta in own) == choice.reasoning
        grown = {}
        for piece in (piece for delta in own for piece in delta.tool_calls):
            known = grown.setdefault(piece.index, ["", "", ""])
            for at, more in enumerate((piece.name, piece.arguments, piece.id)):
                known[at] += more
        assert [grown[at][0] for at in sorted(grown)] == [one.name for one in choice.tool_calls]
        if form.name != AnthropicMessages.name:  # which has an object, without the white space
            calls = [attrs.astuple(call) for call in choice.tool_calls]
            assert [tuple(grown[at]) for at in sorted(grown)] == calls
