"""Requests with the same key may share a response (L6)."""

import itertools

import attrs
from fakes import MODEL, Journal, asking, batcher_to, call, outcomes
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Batching, ChatMessage, Request, Tool
from callsheet.actors.identity import sharing_key
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.runtime import open_runtime


@attrs.frozen
class Label:
    name: str


texts = st.text(st.characters(codec="utf-8"), max_size=5)
bodies = st.builds(
    Request,
    model=st.sampled_from(["m", "n"]),
    messages=st.lists(
        st.builds(ChatMessage, st.sampled_from(["user", "system"]), texts), min_size=1, max_size=3
    ),
    max_tokens=st.none() | st.integers(1, 3),
    temperature=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.none() | st.integers(0, 2),
    extra_body=st.dictionaries(
        st.sampled_from(["top_k", "min_p", "user"]), st.integers(0, 2) | texts
    ),
    cacheable=st.just(value=True),
)


@given(bodies, bodies)
def test_two_requests_share_if_and_only_if_they_have_the_same_body(one, other):
    """L6: everything that can change the answer is in the key, and nothing else."""
    bodies = [OpenAIChat().encode(request, stream=False) for request in (one, other)]
    assert (sharing_key(one) == sharing_key(other)) == (bodies[0] == bodies[1])


@given(bodies)
def test_what_is_not_declared_cacheable_has_no_key(request):
    assert sharing_key(request) is not None
    assert sharing_key(attrs.evolve(request, cacheable=False)) is None


def test_every_field_that_changes_the_answer_changes_the_key():
    plain = Request.of("Hi", model=MODEL, cacheable=True)
    changes = {
        "model": "gpt-4o-mini",
        "messages": (ChatMessage("system", "Hi"),),
        "max_tokens": 1,
        "temperature": 0.0,
        "seed": 0,
        "n": 2,
        "top_p": 0.5,
        "stop": "\n",
        "json_schema": {"type": "object"},
        "returns": Label,
        "tools": (Tool(name="search"),),
        "tool_choice": "none",
        "dimensions": 3,
        "api": "responses",
        "dialect": "chat",
        "packable": True,
        "extra_body": {"top_p": 0.5},
        "extra_headers": {"anthropic-beta": "files-api-2025-04-14"},
    }
    of_texts = {"task": "embedding", "inputs": "Hi", "messages": ()}
    unsaid = {field.name for field in attrs.fields(Request)} - changes.keys() - of_texts.keys()
    assert unsaid == {"cacheable", "deadline", "idempotency_key", "max_tokens_name"}, (
        "a new field belongs in here, and in the key"
    )
    changed = [{name: to} for name, to in changes.items()]
    named = ChatMessage("user", "Hi", extra={"name": "Ann"})
    changed += [
        {"messages": (named,)},
        of_texts,
        of_texts | {"task": "completion"},
        of_texts | {"inputs": "Ho"},
    ]
    requests = [plain, *(attrs.evolve(plain, **change) for change in changed)]
    keys = [sharing_key(request) for request in requests]
    assert len(set(keys)) == len(requests)


def test_two_classes_share_if_and_only_if_they_have_the_same_name_and_schema():
    def key(title, **types):
        fields = {name: attrs.field(type=kind) for name, kind in types.items()}
        kind = attrs.make_class(title, fields)
        return sharing_key(Request.of("Hi", model=MODEL, returns=kind, cacheable=True))

    assert key("Tag", name=str) == key("Tag", name=str)
    assert len({key("Tag", name=str), key("Tags", name=str), key("Tag", name=int)}) == 3


def test_the_order_of_members_does_not_change_the_key_but_the_order_of_turns_does():
    behaviours = [ChatMessage("user", "a"), ChatMessage("user", "b")]
    found = {
        (order, way): sharing_key(
            Request(model="m", messages=messages, extra_body=dict(extra), cacheable=True)
        )
        for order, messages in (("ab", behaviours), ("ba", behaviours[::-1]))
        for way, extra in enumerate(itertools.permutations([("x", 1), ("y", {"p": 1, "q": 2})]))
    }
    assert found["ab", 0] == found["ab", 1]
    assert found["ba", 0] == found["ba", 1]
    assert found["ab", 0] != found["ba", 0]


async def test_a_prompt_that_no_encoding_can_write_does_not_take_the_others_down(autojump_clock):
    """R8: bad input is not a bug of the batcher; text from a shell can have such characters."""
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, Journal(), batching=Batching(max_wait_s=1))
        good, _ = await outcomes(
            *asking(batcher, "good", cacheable=True),
            lambda: batcher.ask(call("caf\udce9", cacheable=True)),
        )
        assert getattr(good, "text", good) == "about good"
        assert runtime.snapshot()[batcher.path].incarnation == 1
