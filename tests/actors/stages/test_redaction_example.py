"""The stages of the examples: no personal data leaves, and all of it comes back (L8, L10)."""

import json
import runpy
from functools import partial
from pathlib import Path

import trio
from fakes import MODEL, URL, Reply, Script, answer_to, completion_json
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    CachePolicy,
    Choice,
    Delta,
    Endpoint,
    Request,
    Stage,
    TroupeSettings,
    insert,
    open_troupe,
)
from callsheet.runtime.testing import run_virtual

EXAMPLES = Path(__file__).parents[3] / "examples"
REDACTION = runpy.run_path(str(EXAMPLES / "redaction.py"))
Redactor, Vault = REDACTION["Redactor"], REDACTION["Vault"]
KEY = b"only for tests"


class Parrot(Stage):
    """Stands instead of the requester: it repeats the prompt, in pieces of a given size."""

    def __init__(self, heard, size=1):
        self.heard, self.size = heard, size

    async def pass_on(self, message, slot):
        slot.reply(self.answer(message.request))

    async def pass_stream_on(self, message, slot):
        self.nursery.start_soon(self.send, message.request, slot)

    async def send(self, request, slot):
        whole = self.answer(request)
        for at in range(0, len(whole.text), self.size):
            await slot.sink.send(Delta(whole.text[at : at + self.size]))
        await slot.sink.send(whole)
        slot.reply(None)

    def answer(self, request):
        text = request.messages[-1].content
        self.heard.append(text)
        return answer_to("", text=text, choices=(Choice(text, "stop"),))


def said(texts, *, size=1, side="before", place="cache"):
    """Return what a provider that repeats everything gets, and what callers get of it."""
    heard, got = [], []

    async def main():
        settings = TroupeSettings(
            endpoint=Endpoint(URL),
            cache=CachePolicy(path=None),
            stages=[
                insert(partial(Redactor, vault=Vault(KEY)), **{side: place}),
                insert(partial(Parrot, heard, size), instead_of="requester"),
            ],
        )
        async with open_troupe(settings) as troupe:
            for text in texts:
                request = Request.of(text, model=MODEL, cacheable=True)
                got.extend([(await troupe.complete(request)).text for _ in range(2)])
                async with troupe.stream(request) as items:
                    *pieces, whole = [item async for item in items]
                assert "".join(piece.text for piece in pieces) == whole.text
                assert all(piece != Delta() for piece in pieces)
                got.append(whole.text)

    run_virtual(main)
    return heard, got


TEXT = (
    "Write to ada@example.org or +47 22 85 50 50, <EMAIL or <b>, to bo@example.org: a < b <EMAIL-0"
)


@given(st.integers(1, 40), st.sampled_from([("before", "cache"), ("after", "batcher")]))
def test_no_address_leaves_and_each_comes_back_however_a_stream_is_cut(size, place):
    heard, got = said([TEXT], size=size, side=place[0], place=place[1])
    assert got == [TEXT] * 3
    assert len(heard) == 2, "the second call is answered from the cache"
    assert all("@" not in text and "+47" not in text for text in heard)
    assert "<EMAIL-" in heard[0]


TEXTS = st.text(st.sampled_from("<EMAILPHON-0a9f> @.+4x"), max_size=40)


@given(TEXTS, st.integers(1, 9))
def test_texts_that_look_like_placeholders_stay_what_they_are(text, size):
    if text.strip():
        assert said([text], size=size)[1] == [text] * 3


def test_equal_addresses_have_equal_placeholders_and_a_key_makes_its_own():
    one, other = Vault(KEY), Vault(KEY)
    assert one.hide("a@b.org, a@b.org, c@b.org").count(one.hide("a@b.org")) == 2
    assert one.hide("a@b.org") == other.hide("a@b.org") != Vault(b"another").hide("a@b.org")
    assert Vault(KEY).show(one.hide("a@b.org")) == one.hide("a@b.org"), "it does not know it"


def test_a_stream_is_not_held_back_without_a_reason():
    seen = []

    async def main():
        settings = TroupeSettings(
            endpoint=Endpoint(URL),
            stages=[
                insert(partial(Redactor, vault=Vault(KEY)), before="batcher"),
                insert(Typist, instead_of="requester"),
            ],
        )
        request = Request.of("Hi", model=MODEL)
        async with open_troupe(settings) as troupe, troupe.stream(request) as items:
            seen.extend([(trio.current_time(), item.text) async for item in items][:-1])

    run_virtual(main)
    assert seen == [(1, "a"), (2, "b "), (3, "<c"), (4, "d")]


class Typist(Parrot):
    def __init__(self):
        super().__init__([])

    async def send(self, request, slot):
        for text in ("a", "b <", "c", "d"):
            await trio.sleep(1)
            await slot.sink.send(Delta(text))
        await slot.sink.send(answer_to("", text="ab <cd"))
        slot.reply(None)


async def test_tools_get_what_was_hidden_and_their_results_are_hidden(autojump_clock):
    """In a tool loop, the response of one round is a part of the request of the next one."""
    vault, got = Vault(KEY), []
    hidden = vault.hide("ada@example.org")

    def look_up(address: str) -> str:
        """Look an address up."""
        got.append(address)
        return "Her other address is ada@home.example."

    call = {"name": "look_up", "arguments": json.dumps({"address": hidden})}
    message = {
        "role": "assistant",
        "content": f"I look {hidden} up.",
        "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
    }
    first = completion_json(
        choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    )
    last = completion_json(f"It is {vault.hide('ada@home.example')}.")
    script = Script(Reply(body=first), Reply(body=last))
    settings = TroupeSettings(
        endpoint=Endpoint(URL),
        transport=script,
        stages=[insert(partial(Redactor, vault=vault), before="cache")],
        cache=CachePolicy(path=None),
    )
    async with open_troupe(settings) as troupe:
        request = Request.of("Look ada@example.org up.", model=MODEL, tools=[look_up])
        run = await troupe.run_tools(request)
    assert got == ["ada@example.org"]
    assert run.response.text == "It is ada@home.example."
    assert len(script.sent) == 2
    assert all(b"ada@" not in sent.body for sent in script.sent)
