"""A key that a provider quotes is in no text of a response, in no body and in no delta (L8)."""

import json

import pytest
from fakes import MODEL, Reply, Script, call, completion_json, requester

from callsheet.actors import CallContext, Compose, Endpoint, PostComposerActor, Stream
from callsheet.actors.compose.recipe import Recipe, Step
from callsheet.actors.request.quoted_keys import DeltaScrubber
from callsheet.actors.responses import Delta, ToolCallDelta

KEY = "sk-proj-0123456789abcdefghij"
PART = KEY[8:20]
ENDPOINT = Endpoint("http://provider/v1", KEY)
SAYS = f"Your key is {KEY}, is it not?"
HIDDEN = "Your key is ***, is it not?"


def tools(arguments):
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


def events(*pieces):
    """Return a stream with the text in pieces."""
    deltas = [{"index": 0, "delta": {"content": piece}} for piece in pieces]
    lines = [{"choices": [delta], "model": MODEL} for delta in deltas]
    lines.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    texts = [f"data: {json.dumps(line)}\n\n" for line in lines]
    return Reply(body="".join(texts) + "data: [DONE]\n\n", pieces=7)


ANSWERS = {
    "in the text": Reply(body=completion_json(SAYS)),
    "in escapes": Reply(
        body=json.dumps(completion_json(SAYS)).replace(KEY, rf"\u0073{KEY[1:]}").encode()
    ),
    "in pieces": events(*SAYS),
    "in pairs": events(*(SAYS[at : at + 2] for at in range(0, len(SAYS), 2))),
    "in one event": events(SAYS),
    "cut off": Reply(body=completion_json(f"Your key is {KEY[:20]}")),
}


@pytest.mark.parametrize("line", ANSWERS.values(), ids=ANSWERS)
async def test_a_quoted_key_is_in_no_text_and_in_no_body(autojump_clock, line):
    async with requester(Script(line), api_key=KEY) as (ref, _):
        answer = await ref.ask(call())
    assert answer.text in (HIDDEN, "Your key is ***")
    assert PART not in repr((answer, answer.body, answer.choices))


async def test_a_quoted_key_is_in_no_argument_of_a_tool(autojump_clock):
    body = completion_json() | tools(json.dumps({"key": KEY}))
    async with requester(Script(Reply(body=body)), api_key=KEY) as (ref, _):
        answer = await ref.ask(call())
    assert json.loads(answer.tool_calls[0].arguments) == {"key": "***"}
    assert PART not in repr(answer.body)


@pytest.mark.parametrize("line", ANSWERS.values(), ids=ANSWERS)
async def test_a_quoted_key_is_in_no_delta(autojump_clock, line):
    async with requester(Script(line), api_key=KEY) as (ref, _):
        message = Stream(call().request, CallContext("x"))
        async with ref.stream(message) as items:
            *deltas, whole = [item async for item in items]
    assert "".join(delta.text for delta in deltas) == whole.text
    assert whole.text in (HIDDEN, "Your key is ***")


async def test_a_quoted_key_is_in_no_post(autojump_clock):
    recipe = Recipe("r", [Step("body", "Write about {{ topic }}.")], model=MODEL)
    async with requester(Script(ANSWERS["in pieces"]), api_key=KEY) as (ref, runtime):
        composer = await runtime.spawn("composer", lambda: PostComposerActor(ref, recipe))
        post = await composer.ask(Compose("Tea"))
    assert HIDDEN in post.markdown
    assert PART not in repr((post, post.markdown, post.to_json()))


async def test_a_short_placeholder_is_no_secret_in_a_response(autojump_clock):
    """A response may contain such a word by chance, and is not changed (L15)."""
    line = Reply(body=completion_json("Choose another password1 now."))
    async with requester(Script(line), api_key="password1") as (ref, _):
        answer = await ref.ask(call())
    assert answer.text == "Choose another password1 now."


@pytest.mark.parametrize("size", range(1, len(KEY) + 3))
def test_a_key_in_pieces_of_any_size_is_hidden(size):
    scrubber = DeltaScrubber(ENDPOINT)
    pieces = [Delta(SAYS[at : at + size]) for at in range(0, len(SAYS), size)]
    passed = [delta for delta in map(scrubber.feed, pieces) if delta is not None]
    assert "".join(delta.text for delta in [*passed, *scrubber.end()]) == HIDDEN


def test_parts_of_several_choices_do_not_mix():
    scrubber = DeltaScrubber(ENDPOINT)
    first, second = KEY[:10], KEY[10:]
    assert scrubber.feed(Delta(first, 0)) is None
    assert scrubber.feed(Delta(index=0, reasoning=first)) is None
    assert scrubber.feed(Delta(index=0, tool_calls=(ToolCallDelta(0, "f", first),))) == Delta(
        index=0, tool_calls=(ToolCallDelta(0, "f"),)
    )
    assert scrubber.feed(Delta(second, 1)) == Delta(second, 1)
    assert scrubber.feed(Delta(second, 0)) == Delta("***", 0)
    assert scrubber.feed(Delta("!", 0)) == Delta("!", 0)
    assert scrubber.feed(Delta(index=0, reasoning=" no")) == Delta(index=0, reasoning=f"{first} no")
    assert scrubber.end() == [Delta(index=0, tool_calls=(ToolCallDelta(0, arguments=first),))]


def test_a_delta_that_quotes_nothing_is_passed_on_as_it_is():
    scrubber = DeltaScrubber(ENDPOINT)
    delta = Delta("Nothing to see here.")
    assert scrubber.feed(delta) is delta
    assert scrubber.end() == []
