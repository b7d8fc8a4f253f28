"""Streams that wait for their turn longer than clients and balancers bear silence."""

import threading
import time

import pytest
from late_imports import import_when_used
from served import CHAT_MODEL, MESSAGES_MODEL, served

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

CHAT = [{"role": "user", "content": "Name a colour."}]
TURN_S = 12  # between the calls of the key; there is a comment after 10 s

openai = import_when_used("openai")
anthropic = import_when_used("anthropic")


def test_the_clients_wait_through_the_comments(tmp_path):
    """Their read timeouts are below the wait, and above the time between two comments."""
    waited_s = {}
    limits = f"limits = {{ rpm = {60 / TURN_S:g} }}"

    def measure(name, ask):
        assert ask()
        began = time.monotonic()
        assert ask()
        waited_s[name] = time.monotonic() - began

    def as_openai(gateway):
        call = {"model": CHAT_MODEL, "messages": CHAT, "stream": True}
        with openai.OpenAI(
            base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=TURN_S - 1
        ) as client:
            measure("openai", lambda: list(client.chat.completions.create(**call)))

    def as_anthropic(gateway):
        call = {"model": MESSAGES_MODEL, "max_tokens": 50, "messages": CHAT, "stream": True}
        with anthropic.Anthropic(
            base_url=gateway.root, api_key=gateway.key, max_retries=0, timeout=TURN_S - 1
        ) as client:
            measure("anthropic", lambda: list(client.messages.create(**call)))

    with served(tmp_path, endpoint=limits) as gateway:
        threads = [
            threading.Thread(target=ask, args=(gateway,)) for ask in (as_openai, as_anthropic)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {*waited_s} == {"openai", "anthropic"}
    assert min(waited_s.values()) > TURN_S - 1
