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
