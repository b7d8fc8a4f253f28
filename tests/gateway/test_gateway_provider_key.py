"""A provider that refuses the gateway's key: clients learn that it is not theirs, the log why."""

from gateway_kit import CHAT, chat, open_kit

from callsheet.gateway.request_log import RequestLog
from callsheet.simulator import ProviderSettings

REFUSING = ProviderSettings(api_key="another-key", latency_s=(1.0, 1.0))


async def test_a_refused_key_of_the_gateway_is_no_fault_of_the_client(autojump_clock):
    lines = []
    async with open_kit(REFUSING) as kit:
        kit.client.app = RequestLog(kit.client.app, lines.append)
        answers = [
            await kit.client.ask(CHAT, chat()),
            await kit.client.ask(CHAT, chat(stream=True)),
        ]
    for answer in answers:
        assert (answer.status, answer.headers["x-should-retry"]) == (502, "false")
        text = answer.json["error"]["message"]
        assert "not the key of this call" in text
        assert "sk-" not in text  # the provider quotes the end of the key
        assert "OPENAI_API_KEY" not in text  # the client has a variable of this name, too
    notes = [line["note"] for line in lines]
    assert all(note.startswith("provider: provider returned 401") for note in notes), notes
