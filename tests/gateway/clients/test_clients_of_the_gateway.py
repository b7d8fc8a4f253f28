"""The clients of OpenAI and Anthropic through the gateway: nothing but base URL and key changes.

What these two tests take a second for, the slow tests beside them try at length.
"""

import pytest
import trio
from served import CHAT_MODEL, MESSAGES_MODEL

pytestmark = pytest.mark.sockets

CHAT = [{"role": "user", "content": "Name a colour."}]


def test_openai_works_whole_streamed_and_from_trio(gateway):
    openai = pytest.importorskip("openai")
    call = {"model": CHAT_MODEL, "messages": CHAT}

    async def ask():
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key=gateway.key) as client:
            return await client.chat.completions.create(**call)

    with openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client:
        whole = client.chat.completions.create(**call)
        chunks = list(client.chat.completions.create(**call, stream=True))
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="cs-wrong").chat.completions.create(**call)
    said = whole.choices[0].message.content
    assert said
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said
    assert trio.run(ask).choices[0].message.content == said


def test_anthropic_works_whole_and_streamed(gateway):
    anthropic = pytest.importorskip("anthropic")
    call = {"model": MESSAGES_MODEL, "max_tokens": 300, "messages": CHAT}
    with anthropic.Anthropic(base_url=gateway.root, api_key=gateway.key, max_retries=0) as client:
        whole = client.messages.create(**call)
        with client.messages.stream(**call) as stream:
            assert "".join(stream.text_stream) == whole.content[0].text
        with pytest.raises(anthropic.AuthenticationError):
            client.with_options(api_key="cs-wrong").messages.create(**call)
