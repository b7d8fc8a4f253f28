"""What the gateway does not serve is refused as SDKs read it, and is in the log with its id."""

import pytest
from gateway_kit import CHAT, MODEL, open_kit

from callsheet.gateway.request_log import RequestLog


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/files", "no files"),
        ("/v1/messages/batches", "no batches"),
        ("/v1/responses/resp_1", "no stored responses"),
        ("/v1/responses/input_tokens", "no counts of tokens"),
        ("/v1/chat/completions/chatcmpl-1", "no stored chats"),
        ("/v1/realtime", "no realtime sessions"),
        ("/", "below /v1"),
        ("/v2/anything", "below /v1"),
    ],
)
async def test_what_is_not_served_is_refused_in_words(autojump_clock, path, words):
    async with open_kit() as kit:
        refused = await kit.client.ask(path, {})
    assert refused.status == 404
    assert words in refused.json["error"]["message"]


async def test_a_wrong_method_is_refused_with_the_right_one(autojump_clock):
    async with open_kit() as kit:
        refused = await kit.client.ask(CHAT, method="GET")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")


async def test_the_log_has_the_id_that_the_client_got(autojump_clock):
    lines = []
    async with open_kit() as kit:
        kit.client.app = RequestLog(kit.client.app, lines.append)
        got = [
            await kit.client.ask("/v1/files", {}),
            await kit.client.ask(CHAT, method="GET"),
            await kit.client.ask("/v1/models", method="GET"),
            await kit.client.ask(f"/v1/models/{MODEL}", method="GET"),
        ]
    assert [line["status"] for line in lines] == [404, 405, 200, 200]
    assert [line["request_id"] for line in lines] == [one.headers["x-request-id"] for one in got]
