"""What OpenAI refuses and compatible servers accept (L15)."""

import pytest
from provider_client import connected


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "?"}]}),
        ("/v1/completions", {"prompt": "?"}),
        ("/v1/embeddings", {"input": "?"}),
        ("/v1/responses", {"input": "?"}),
    ],
)
async def test_an_unknown_member_is_refused_by_its_name(autojump_clock, url, body):
    body = {"model": "m", "top_k": 5} | body
    async with connected() as client, connected(refuses_unknown=False) as lenient:
        refused = await client.post(url, json=body)
        accepted = await lenient.post(url, json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "top_k")
    assert error["message"] == "Unknown parameter: 'top_k'."
    assert accepted.status_code == 200


@pytest.mark.parametrize(
    ("model", "status"),
    [("gpt-5-nano", 400), ("o4-mini", 400), ("gpt-6.1-terra", 400), ("gpt-4o-mini", 200)],
)
async def test_models_that_reason_refuse_max_tokens(autojump_clock, model, status):
    async with connected(refuses_max_tokens=True) as client, connected() as lenient:
        response = await client.chat(model=model, max_tokens=50)
        assert (await client.chat(model=model, max_completion_tokens=50)).status_code == 200
        assert (await lenient.chat(model=model, max_tokens=50)).status_code == 200
    assert response.status_code == status
    if status == 400:
        assert "Use 'max_completion_tokens' instead" in response.json()["error"]["message"]


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
async def test_the_newer_api_of_anthropic_refuses_what_shapes_sampling(autojump_clock, name):
    newer = {"anthropic-version": "2026-10-21"}
    async with connected() as client:
        old = await client.message(**{name: 1})
        refused = await client.message(headers=newer, **{name: 1})
        plain = await client.message(headers=newer | {"authorization": "Bearer any"})
    assert (old.status_code, refused.status_code, plain.status_code) == (200, 400, 200)
    assert refused.json()["error"]["message"].startswith(f"{name}: ")
