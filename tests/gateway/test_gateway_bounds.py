"""Bodies are bounded as the settings say, and what is too large is refused as SDKs read it."""

import attrs
import pytest
from gateway_kit import CHAT, MESSAGES, chat, message, open_kit

from callsheet.gateway.calls import bodies
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


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [[]] * 50_000},
        {"foo": [{}] * 20_000, "bar": {"a": [[[]]] * 20_000}},
        {"stop": ["a"] * 50_000},
        b"[" * 500_001,
    ],
    ids=["lists", "objects", "texts", "brackets"],
)
async def test_a_body_of_too_many_parts_is_refused_before_it_is_read(autojump_clock, members):
    """Reading them took seconds, in which no other client was served."""
    async with open_kit() as kit:
        refused = await kit.client.ask(
            CHAT, members if isinstance(members, bytes) else chat() | members
        )
        assert (refused.status, refused.headers["x-should-retry"]) == (413, "false")
        assert "50,000 objects, lists and texts in lists" in refused.json["error"]["message"]
        assert kit.stats.requests == 0


@pytest.mark.parametrize("most", [60_000, pytest.param(500_000, marks=pytest.mark.slow)])
async def test_a_body_of_too_many_members_is_refused(autojump_clock, monkeypatch, most):
    assert bodies._MOST_VALUES == 500_000
    monkeypatch.setattr(bodies, "_MOST_VALUES", most)
    async with open_kit() as kit:
        members = dict.fromkeys(map(str, range(most + 1)))
        refused = await kit.client.ask(CHAT, chat() | {"metadata": members})
        assert (refused.status, refused.headers["x-should-retry"]) == (413, "false")
        assert f"more than {most:,} values" in refused.json["error"]["message"]
        assert kit.stats.requests == 0


async def test_texts_and_token_ids_are_no_parts(autojump_clock):
    async with open_kit() as kit:
        assert (await kit.client.ask(CHAT, chat("[{,}]" * 20_000))).status == 200
        body = {"model": "text-embedding-3-small", "input": [[1] * 1000] * 100}
        assert (await kit.client.ask("/v1/embeddings", body)).status == 200


async def test_a_very_long_name_of_a_model_is_not_looked_up(autojump_clock):
    async with open_kit() as kit:
        body = message() | {"model": "claude-" + "a" * 3_000_000}
        refused = await kit.client.ask(MESSAGES, body)
        assert refused.status == 404
        assert "'claude-aaa" in refused.json["error"]["message"]
        assert len(refused.body) < 500


async def test_a_reload_leaves_the_bounds_as_they_are(autojump_clock):
    """The addresses listen with those of the start, too."""
    async with open_kit(clients=SMALL) as kit:
        wide = attrs.evolve(kit.gateway.settings, clients=ServingLimits(), patience_s=5.0)
        await kit.gateway.reload(wide)
        assert kit.gateway.service.rules.patience_s == 5.0
        assert (await kit.client.ask(CHAT, chat("x" * 2000))).status == 413
