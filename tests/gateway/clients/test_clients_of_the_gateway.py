"""The clients of OpenAI and Anthropic through the gateway: nothing but base URL and key changes.

What this test takes a second for, the slow tests beside it try at length.
"""

import pytest
import trio
from served import CHAT_MODEL, MESSAGES_MODEL, served

CHAT = [{"role": "user", "content": "Name a colour."}]


@pytest.mark.sockets
def test_the_clients_of_openai_and_anthropic_work_whole_and_streamed(tmp_path):
    """One test, so that one gateway starts however tests are spread over workers."""
    with served(tmp_path) as gateway:
        ask_as_openai(pytest.importorskip("openai"), gateway)
        ask_as_anthropic(pytest.importorskip("anthropic"), gateway)


def ask_as_openai(openai, gateway):
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


def ask_as_anthropic(anthropic, gateway):
    call = {"model": MESSAGES_MODEL, "max_tokens": 300, "messages": CHAT}
    with anthropic.Anthropic(base_url=gateway.root, api_key=gateway.key, max_retries=0) as client:
        whole = client.messages.create(**call)
        with client.messages.stream(**call) as stream:
            assert "".join(stream.text_stream) == whole.content[0].text
        with pytest.raises(anthropic.AuthenticationError):
            client.with_options(api_key="cs-wrong").messages.create(**call)
