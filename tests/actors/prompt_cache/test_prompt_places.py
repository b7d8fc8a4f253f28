"""The places of a prompt: two prompts have those in common up to which they are the same (R14)."""

from types import MappingProxyType

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Request, Tool
from callsheet.actors.prompt_cache.marks import PromptPlace
from callsheet.actors.prompt_cache.places import most_bytes, read_places

MODEL = "claude-sonnet-4-5"
WORDS = "Judge the text by the rules, and answer in one word. " * 100
TOOL = Tool(name="search", description="Finds a page.", parameters={"type": "object"})


def places_of(request, *, first=1024, scope="endpoint"):
    return read_places(request, scope, first)


def keys(request, **more):
    return [place.key for place in places_of(request, **more).places]


def common(one, other, **more):
    """Return how many places two prompts have in common, which are the first ones."""
    found = 0
    for a, b in zip(keys(one, **more), keys(other, **more), strict=False):
        if a != b:
            break
        found += 1
    assert not set(keys(one, **more)[found:]) & set(keys(other, **more)[found:])
    return found


def chat(*messages, **more):
    return Request(model=MODEL, messages=messages, **more)


SYSTEM = {"role": "system", "content": WORDS}


def test_prompts_share_the_places_of_their_common_messages():
    one, other = (Request.of(text, system=WORDS, model=MODEL) for text in ("Tea", "Coffee"))
    found = places_of(one)
    assert common(one, other) == found.leading == len(found.places) - 1
    assert found.places[found.leading - 1].where == PromptPlace(0)
    assert found.origin == places_of(other).origin


def test_a_template_in_one_text_has_places_within_it():
    """An instruction and the text that differs are often one string."""
    one, other = (Request.of(f"{WORDS}{text}", model=MODEL) for text in ("Tea", "Coffee"))
    shared = common(one, other)
    where = places_of(one).places[shared - 1].where
    assert 0.8 * len(WORDS) < where.chars <= len(WORDS)
    assert WORDS[where.chars - 1] == " ", "a text is cut between words"


changes = {
    "model": {"model": "claude-opus-5"},
    "tools": {"tools": (TOOL,)},
    "schema": {"json_schema": {"type": "object"}},
    "tool choice": {"tools": (TOOL,), "tool_choice": "none"},
    "body": {"extra_body": {"thinking": {"type": "enabled"}}},
    "key": {"extra_body": {"prompt_cache_key": "mine"}},
}


@pytest.mark.parametrize("change", changes)
def test_what_a_cache_depends_on_leaves_nothing_in_common(change):
    one = chat(SYSTEM, {"role": "user", "content": "Hi"})
    assert common(one, attrs.evolve(one, **changes[change])) == 0


def test_what_a_cache_does_not_depend_on_changes_no_place():
    one = chat(SYSTEM, {"role": "user", "content": "Hi"})
    other = attrs.evolve(one, temperature=1.0, max_tokens=5, extra_body={"user": "ada"})
    assert keys(one) == keys(other)
    assert not set(keys(one)) & set(keys(one, scope="another endpoint"))


def test_a_dialogue_continues_the_places_of_its_earlier_turns_though_marks_move():
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}

    def turn(text, **more):
        return {"role": "user", "content": [{"type": "text", "text": text, **more}]}

    first = chat(SYSTEM, turn("Who?", **mark))
    second = chat(SYSTEM, turn("Who?"), {"role": "assistant", "content": "Ada."}, turn("?", **mark))
    assert common(first, second) == len(keys(first))
    found = places_of(second)
    assert [place.mark_s for place in found.places[-3:]] == [None, None, 3600.0]
    assert found.is_marked
    assert found.is_dialogue
    assert not places_of(first).is_dialogue


def test_marks_of_tools_messages_and_the_whole_body_are_found():
    mark = {"cache_control": {"type": "ephemeral"}}
    tool = {"name": "search", "input_schema": {"type": "object"}, **mark}
    user = {"role": "user", "content": "Hi"}
    assert places_of(chat(user, tools=[tool])).places[0].mark_s == 0
    assert places_of(chat({**SYSTEM, **mark}, user)).places[-2].mark_s == 0
    assert places_of(chat(user, extra_body=mark)).places[-1].mark_s == 0
    assert not places_of(chat(user)).is_marked


texts = st.text(st.sampled_from("ab \né"), max_size=40)
parts = st.lists(texts.map(lambda text: {"type": "text", "text": text}), min_size=1, max_size=3)
contents = st.one_of(texts.filter(bool), parts)
prompts = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), contents), min_size=1, max_size=4
)


def flat(request):
    """Return a prompt as a list of characters and ends of blocks."""
    found = []
    for message in request.messages:
        content = message.body["content"]
        found.append(message.role)
        for part in content if isinstance(content, list) else [{"text": content}]:
            found += ["part" if isinstance(content, list) else "text", *part["text"], None]
    return found


@given(prompts, prompts, st.integers(1, 20))
def test_places_are_in_common_exactly_as_far_as_the_prompts_are(one, other, first):
    requests = [
        chat(*({"role": role, "content": content} for role, content in messages))
        for messages in (one, [*one[: len(other) // 2], *other])
    ]
    a, b = map(flat, requests)
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    shared = common(*requests, first=first)
    if shared:
        before = places_of(requests[0], first=first).places[shared - 1]
        assert before.size <= len("".join(filter(None, a[:same])).encode()) + 200 * len(a)
    if a == b:
        assert shared == len(keys(requests[0], first=first))
    sizes = [place.size for place in places_of(requests[0], first=first).places]
    assert sizes == sorted(sizes)


@given(prompts)
def test_no_prompt_has_more_bytes_than_its_bound(messages):
    request = chat(*({"role": role, "content": content} for role, content in messages))
    texts = sum(
        len(part["text"].encode())
        for message in request.messages
        for part in (
            message.body["content"]
            if isinstance(message.body["content"], list)
            else [{"text": message.content}]
        )
    )
    assert texts <= most_bytes(request)


def test_a_long_prompt_has_few_places():
    request = Request.of("word " * 100_000, model=MODEL)
    assert len(keys(request)) < 60


def test_large_files_are_told_apart_by_their_size_and_samples():
    def request(data):
        file = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}"}}
        return chat({"role": "user", "content": [file]})

    data = "AbCd" * 500_000
    one = request(data)
    assert keys(one) == keys(request(str(data)))
    assert common(one, request(f"{data}A")) == 0
    assert common(one, request(f"x{data[1:]}")) == 0
    assert common(one, request(f"{data[:-1]}x")) == 0
    assert common(one, request(f"{data[:900_000]}{'x' * 5000}{data[905_000:]}")) == 0


def test_what_stands_in_the_place_of_lists_and_objects_is_read_as_well():
    def request(text):
        part = MappingProxyType({"type": "text", "text": text})
        return Request(
            model=MODEL, messages=(ChatMessage("user", "", extra={"content": (part, {1: "x"})}),)
        )

    assert common(request("Tea"), request("Milk")) == 0
    assert common(request("Tea"), request("Tea")) == 1
    assert most_bytes(request("word " * 1000)) > 5000


def test_an_image_counts_by_its_tokens_and_the_same_image_is_the_same():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9000}}
    one = chat({"role": "user", "content": [image, {"type": "text", "text": "What?"}]})
    assert places_of(one).places[0].size < 4000
    assert common(one, chat(ChatMessage("user", "", extra={"content": [image]}))) == 1
