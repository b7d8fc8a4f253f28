"""The settings that the workers of a shared run get, without secrets."""

import json
from datetime import date, time
from decimal import Decimal
from math import inf

import attrs
import pytest

from callsheet.actors import (
    BreakerPolicy,
    Endpoint,
    HedgePolicy,
    Lane,
    Limits,
    Packing,
    PeakHours,
    Price,
    PriceBook,
    Rate,
    RetryPolicy,
    Target,
    ThrottlePolicy,
    TierPrice,
    Timeouts,
    TroupeSettings,
    default_prices,
)
from callsheet.bulk.shared.card import NoKey, encode_card, rows_ahead, worker_settings

KEY = "sk-secret-of-the-holder-0123456789"
ENVIRON = {"OPENAI_API_KEY": "sk-worker", "ANTHROPIC_API_KEY": "sk-ant"}
CHEAP = Price(
    Decimal("0.1"),
    Decimal("0.3"),
    tiers={"flex": TierPrice(Decimal("0.05"), Decimal("0.15"))},
    above=((200_000, TierPrice(Decimal(1), Decimal(2))),),
    changes=((date(2027, 1, 1), Price(Decimal(5), Decimal(6))),),
    peak=(PeakHours(((time(8), time(18, 30)),), weekdays_only=True), Price(Decimal(7), Decimal(8))),
)
SETTINGS = TroupeSettings(
    endpoint=Endpoint.of("openai", KEY),
    limits=Limits(
        rpm=600,
        in_flight=50,
        rates=(Rate("usd", 5.0, 3600.0),),
        models={"gpt-4o*": Limits(tpm=9000)},
        lanes={"bulk": Lane(weight=0.5, priority=-1)},
    ),
    packing=Packing(max_items=20),
    retry=RetryPolicy(max_attempts=3, max_server_s=inf),
    throttle=ThrottlePolicy(share=0.1),
    breaker=BreakerPolicy(min_calls=20),
    hedging=HedgePolicy(quantile=0.9),
    timeouts=Timeouts(send_s=90.0),
    prompt_caching="off",
    max_in_flight=200,
    streaming=False,
    fallbacks=(Target(Endpoint.of("anthropic", KEY), "claude-haiku-4-5"),),
    prices=PriceBook({**default_prices().models, "mine": CHEAP}).at_vendor("openai"),
)


def test_a_worker_makes_calls_as_the_holder_would():
    card = encode_card(SETTINGS, ahead=7)

    there = worker_settings(card, ENVIRON)

    for name in ("limits", "packing", "retry", "throttle", "breaker", "hedging", "timeouts"):
        assert getattr(there, name) == getattr(SETTINGS, name)
    for name in ("prompt_caching", "max_in_flight", "streaming", "batching", "member_limits"):
        assert getattr(there, name) == getattr(SETTINGS, name)
    assert attrs.evolve(there.endpoint, api_key=KEY) == SETTINGS.endpoint
    assert there.endpoint.api_key == "sk-worker"
    (fallback,) = there.fallbacks
    assert (fallback.model, fallback.endpoint.api_key) == ("claude-haiku-4-5", "sk-ant")
    assert there.prices.vendor == "openai"
    assert dict(there.prices.models) == dict(SETTINGS.prices.models)
    assert rows_ahead(card) == 7


def test_no_secret_is_in_it():
    endpoint = Endpoint(
        "https://user:hunter2@host/v1",
        KEY,
        "compatible",
        headers={"x-team": "blue", "x-api-key": "s3cret1", "x-mine": "s3cret2"},
        query={"api-version": "1", "token": "s3cret3"},
        secret_names={"x-mine"},
    )
    card = encode_card(TroupeSettings(endpoint=endpoint))

    for secret in (KEY, "hunter2", "s3cret"):
        assert secret.encode() not in card
    variables = json.loads(card)["endpoint"]["key_variables"]
    there = worker_settings(card, dict.fromkeys(variables, "sk-worker"))
    assert dict(there.endpoint.headers) == {"x-team": "blue"}
    assert dict(there.endpoint.query) == {"api-version": "1"}


def test_a_pool_keeps_its_members_and_their_limits():
    members = [Endpoint.of("openai", KEY, key_name=name) for name in ("one", "two")]
    settings = TroupeSettings(endpoint=Endpoint.pool(members), member_limits={"two": Limits(rpm=9)})

    there = worker_settings(encode_card(settings), ENVIRON)

    assert [member.key_name for member in there.endpoint.members] == ["one", "two"]
    assert there.member_limits == settings.member_limits


def test_the_variable_that_a_settings_file_names_comes_first():
    endpoint = Endpoint.of("openai", KEY)
    card = encode_card(TroupeSettings(endpoint=attrs.evolve(endpoint, key_variable="TEAM_KEY")))

    assert worker_settings(card, ENVIRON | {"TEAM_KEY": "sk-team"}).endpoint.api_key == "sk-team"
    assert worker_settings(card, ENVIRON).endpoint.api_key == "sk-worker"


def test_a_missing_key_names_its_variable():
    with pytest.raises(NoKey, match="OpenAI with an API key; set OPENAI_API_KEY"):
        worker_settings(encode_card(SETTINGS), {})


@pytest.mark.parametrize("card", [b"", b"[]", b"{}", b'{"version": 1}', b"\xff"])
def test_other_texts_are_refused(card):
    with pytest.raises(ValueError, match="the run"):
        worker_settings(card, ENVIRON)


def test_the_card_of_another_version_is_refused_with_the_remedy():
    card = encode_card(SETTINGS).replace(b'"version":1', b'"version":2')
    with pytest.raises(ValueError, match="same version of Callsheet on all machines"):
        worker_settings(card, ENVIRON)
