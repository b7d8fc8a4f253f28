"""Without keys, a page of another site in a browser on this machine may not spend money."""

import pytest
from gateway_kit import CHAT, MESSAGES, chat, message, open_kit

from callsheet.gateway.keys import KeyFile, KeyTerms

FOREIGN = [
    "https://evil.example",
    "http://evil.example:4000",  # its name points here now
    "http://localhost.evil.example",
    "http://127.0.0.1@evil.example",
    "http://10.0.0.7:4000",
    "null",
    "",
    "http://[::1",
]
LOCAL = ["http://localhost:3000", "http://127.0.0.1:4000", "http://[::1]:8080", "https://LOCALHOST"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_of_another_site_may_not_call(autojump_clock, origin):
    async with open_kit() as kit:
        for path, body in [(CHAT, chat()), (MESSAGES, message())]:
            headers = {"origin": origin, "content-type": "text/plain"}
            answer = await kit.client.ask(path, body, headers=headers)
            assert answer.status == 403
            assert "pages of other sites" in answer.json["error"]["message"]
        assert kit.stats.requests == 0


@pytest.mark.parametrize("origin", LOCAL)
async def test_a_page_of_this_machine_may_call(autojump_clock, origin):
    async with open_kit() as kit:
        assert (await kit.client.ask(CHAT, chat(), headers={"origin": origin})).status == 200


async def test_a_key_is_enough_from_any_page(autojump_clock, tmp_path):
    path = tmp_path / "keys.sqlite3"
    with KeyFile(path, create=True) as store:
        secret = store.create(KeyTerms(name="team")).secret
    headers = {"origin": "https://app.example", "authorization": f"Bearer {secret}"}
    async with open_kit(keys=path) as kit:
        assert (await kit.client.ask(CHAT, chat(), headers=headers)).status == 200
