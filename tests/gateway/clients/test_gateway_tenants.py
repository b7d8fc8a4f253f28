"""What the SDKs say of a key: its models, budgets and limits, and its end."""

import time
from contextlib import ExitStack

import pytest
from late_imports import import_when_used
from served import CHAT_MODEL, MESSAGES_MODEL, served

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

CHAT = [{"role": "user", "content": "Name a colour."}]
CALL = {"model": CHAT_MODEL, "messages": CHAT}
SEEN_S = 2.5  # until a gateway knows of a change of the store

openai = import_when_used("openai")
anthropic = import_when_used("anthropic")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with served(tmp_path_factory.mktemp("tenants")) as running:
        yield running


@pytest.fixture(scope="module")
def secrets(gateway):
    """{name: secret} of keys with terms of their own."""
    terms = {
        "chats": ("--models", "gpt-*"),
        "poor": ("--budget", "0.000001/day"),
        "limited": ("--rpm", "600", "--tpm", "60000"),
        "revoked": (),
    }
    found = {name: gateway.keys("create", name, *options) for name, options in terms.items()}
    time.sleep(SEEN_S)
    return found


@pytest.fixture
def clients():
    """Closes the clients of a test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def client_of(gateway, secrets, clients):
    def client_of(name):
        return clients.enter_context(openai.OpenAI(base_url=gateway.url, api_key=secrets[name]))

    return client_of


@pytest.fixture
def claude_of(gateway, secrets, clients):
    def claude_of(name):
        key = secrets[name]
        return clients.enter_context(anthropic.Anthropic(base_url=gateway.root, api_key=key))

    return claude_of


def test_a_key_may_use_its_models_alone(client_of, claude_of):
    client = client_of("chats")
    assert client.chat.completions.create(**CALL).choices
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(**CALL | {"model": MESSAGES_MODEL})
    assert (caught.value.param, MESSAGES_MODEL in caught.value.message) == ("model", True)
    names = [model.id for model in client.models.list()]
    assert [name for name in names if not name.startswith("gpt-")] == []
    with pytest.raises(anthropic.PermissionDeniedError) as caught:
        claude_of("chats").messages.create(model=MESSAGES_MODEL, max_tokens=5, messages=CHAT)
    assert caught.value.body["error"]["type"] == "permission_error"


def test_a_budget_refuses_in_words_and_is_not_asked_twice(client_of, gateway):
    before = gateway.stats()["requests"]
    began = time.monotonic()
    with pytest.raises(openai.APIStatusError) as caught:
        client_of("poor").chat.completions.create(**CALL)
    assert time.monotonic() - began < 1  # without a retry
    error = caught.value
    assert (error.status_code, error.code) == (402, "budget_exceeded")
    assert "poor" in error.message
    assert gateway.stats()["requests"] == before


def test_the_limits_of_a_key_are_in_headers(client_of, claude_of):
    headers = client_of("limited").chat.completions.with_raw_response.create(**CALL).headers
    assert headers["x-ratelimit-limit-requests"] == "600"
    assert headers["x-ratelimit-limit-tokens"] == "60000"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    call = {"model": MESSAGES_MODEL, "max_tokens": 50, "messages": CHAT}
    headers = claude_of("limited").messages.with_raw_response.create(**call).headers
    assert headers["anthropic-ratelimit-requests-limit"] == "600"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")


def test_a_key_ends_when_it_is_revoked(client_of, gateway):
    client = client_of("revoked")
    assert client.chat.completions.create(**CALL).choices
    gateway.keys("revoke", "revoked")
    time.sleep(SEEN_S)
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(**CALL)


def test_a_key_that_is_replaced_is_valid_with_the_new_one(client_of, gateway):
    secret = gateway.keys("create", "chats", "--replace")
    time.sleep(SEEN_S)
    former, present = client_of("chats"), client_of("chats").with_options(api_key=secret)
    assert former.chat.completions.create(**CALL).choices
    assert present.chat.completions.create(**CALL).choices
    with pytest.raises(openai.PermissionDeniedError):
        present.chat.completions.create(**CALL | {"model": MESSAGES_MODEL})


def test_the_flex_tier_and_a_deadline_are_cheaper_routes(client_of):
    completions = client_of("limited").chat.completions.with_raw_response
    usual = completions.create(**CALL)
    flex = completions.create(**CALL, service_tier="flex")
    assert usual.headers["x-callsheet-route"] == "live"
    cost = "x-callsheet-cost-usd"
    assert float(flex.headers[cost]) <= float(usual.headers[cost])
    assert flex.parse().choices[0].message.content
    later = completions.create(**CALL, extra_headers={"x-callsheet-deadline": "3600"})
    assert later.parse().choices[0].message.content


def test_headers_of_the_gateway_with_wrong_values_are_refused_by_their_names(client_of):
    create = client_of("limited").chat.completions.create
    for name in ("x-callsheet-deadline", "x-callsheet-patience"):
        with pytest.raises(openai.BadRequestError) as caught:
            create(**CALL, extra_headers={name: "soon"})
        assert caught.value.param == name
