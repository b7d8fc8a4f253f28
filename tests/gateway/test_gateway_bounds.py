"""Bodies are bounded as the settings say, and what is too large is refused as SDKs read it."""

import attrs
from gateway_kit import CHAT, MESSAGES, chat, message, open_kit

from callsheet.serving import ServingLimits

SMALL = ServingLimits(max_body_bytes=1000)


async def test_a_body_may_be_as_large_as_the_settings_say(autojump_clock):
    async with open_kit(clients=SMALL) as kit:
        assert (await kit.client.ask(CHAT, chat("x" * 500))).status == 200
        refused = await kit.client.ask(CHAT, chat("x" * 2000))
        assert (refused.status, refused.json["error"]["type"]) == (413, "invalid_request_error")
        assert "1,000 bytes" in refused.json["error"]["message"]
        refused = await kit.client.ask(MESSAGES, message("x" * 2000))
        assert (refused.status, refused.json["error"]["type"]) == (413, "request_too_large")
    large = ServingLimits(max_body_bytes=64 * 1024 * 1024)
    async with open_kit(clients=large) as kit:
        answer = await kit.client.ask(CHAT, chat(), headers={"content-length": "40000000"})
        assert answer.status == 200


async def test_a_reload_leaves_the_bounds_as_they_are(autojump_clock):
    """The addresses listen with those of the start, too."""
    async with open_kit(clients=SMALL) as kit:
        wide = attrs.evolve(kit.gateway.settings, clients=ServingLimits(), patience_s=5.0)
        await kit.gateway.reload(wide)
        assert kit.gateway.service.rules.patience_s == 5.0
        assert (await kit.client.ask(CHAT, chat("x" * 2000))).status == 413
