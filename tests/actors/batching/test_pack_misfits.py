"""Why a pack cannot hold a request: each reason, in words for the person who asked for packs."""

import attrs
import pytest

from callsheet.actors import ChatMessage, Packing, Request

FITS = Request.of("Good.", system="Label it.", model="gpt-5.4-nano", packable=True)
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}


def chat(*messages):
    return attrs.evolve(FITS, messages=messages)


SYSTEM, USER = ChatMessage("system", "Label it."), ChatMessage("user", "Good.")

MISFITS = [
    (attrs.evolve(FITS, packable=False), "packing is not allowed"),
    (Request(model="m", task="embedding", inputs=["a"]), "packing is not allowed"),
    (attrs.evolve(FITS, n=2), "several answers (n)"),
    (attrs.evolve(FITS, stop=("END",)), "a stop sequence, which would end the whole pack"),
    (attrs.evolve(FITS, tools=(TOOL,)), "tools"),
    (attrs.evolve(FITS, tool_choice="none"), "tools"),
    (
        attrs.evolve(FITS, extra_body={"logprobs": True}),
        "logprobs, which cannot apply to a whole pack",
    ),
    (
        attrs.evolve(FITS, extra_body={"text": {"format": {}}}),
        "format, which cannot apply to a whole pack",
    ),
    (chat(USER), "no system message to share with others"),
    (chat(USER, USER), "no system message to share with others"),
    (chat(SYSTEM), "no system message to share with others"),
    (chat(SYSTEM, USER, ChatMessage("assistant", "Yes")), "the last message is not the user's"),
    (
        chat(SYSTEM, ChatMessage("user", "x" * 2001)),
        "a last message of more than 2,000 bytes",
    ),
    (
        chat(SYSTEM, ChatMessage("user", "x", extra={"name": "Eve"})),
        "a message with more than a role and a text",
    ),
    (attrs.evolve(FITS, idempotency_key="k"), "an idempotency key"),
]


@pytest.mark.parametrize(("request_", "reason"), MISFITS)
def test_each_reason_is_told_and_has_no_key(request_, reason):
    packing = Packing()
    assert packing.misfit(request_) == reason
    assert packing.key(request_) is None


def test_a_request_without_a_reason_has_a_key():
    assert Packing().misfit(FITS) is None
    assert Packing().key(FITS) is not None
