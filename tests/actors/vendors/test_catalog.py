"""The known vendors, and that their settings are consistent."""

from decimal import Decimal

import pytest

from callsheet.actors import (
    VENDORS,
    Endpoint,
    PriceBook,
    Request,
    UnsupportedField,
    vendor_at,
    vendor_named,
)
from callsheet.actors.ledger import asked_tier
from callsheet.actors.routing import TierRoute
from callsheet.actors.vendors.decoding import dumps

NAMES = [
    "openai",
    "azure",
    "anthropic",
    "gemini",
    "together",
    "groq",
    "openrouter",
    "cerebras",
    "mistral",
    "deepseek",
    "xai",
    "perplexity",
    "fireworks",
    "deepinfra",
    "moonshot",
    "cohere",
    "vllm",
    "llamacpp",
    "ollama",
    "lmstudio",
    "compatible",
]


def test_these_are_known():
    assert list(VENDORS) == NAMES, (
        "a vendor of the catalog has its name in NAMES, in the same order"
    )
    assert all(vendor.name == name for name, vendor in VENDORS.items())


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_each_has_an_address_that_is_whole_or_a_way_to_be_given_one(vendor):
    if vendor.base_url is None:
        assert vendor.url_variables
        return
    assert Endpoint(vendor.base_url).base_url == vendor.base_url
    context = vendor.base_url.removesuffix(vendor.version_path)
    assert vendor.whole_url(f"{context}/") == vendor.base_url
    assert vendor.whole_url("http://provider/other/") == "http://provider/other"
    assert vendor.needs_key is not Endpoint(vendor.base_url).is_loopback


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_each_has_a_variable_for_its_key(vendor):
    assert all(name.endswith(("_API_KEY", "_API_TOKEN")) for name in vendor.key_variables)
    assert vendor.key_variables or not vendor.needs_key


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("openai", "max_completion_tokens"),
        ("azure", "max_completion_tokens"),
        ("groq", "max_completion_tokens"),
        ("cerebras", "max_completion_tokens"),
        ("together", "max_tokens"),
        ("openrouter", "max_tokens"),
        ("vllm", "max_tokens"),
        ("llamacpp", "max_tokens"),
        ("ollama", "max_tokens"),
        ("compatible", "max_tokens"),
        ("mistral", "max_tokens"),
        ("deepseek", "max_tokens"),
        ("xai", "max_tokens"),
        ("anthropic", "max_tokens"),
        ("gemini", "maxOutputTokens"),
    ],
)
def test_the_limit_has_the_name_that_the_vendor_knows(name, limit):
    body = (
        VENDORS[name]
        .format_for("chat")
        .encode(Request.of("Hi", model="m", max_tokens=7919), stream=False)
    )
    assert f'"{limit}":7919' in dumps(body).decode()


@pytest.mark.parametrize("name", NAMES)
def test_usage_is_asked_for_only_where_that_is_known_to_work(name):
    body = VENDORS[name].format_for("chat").encode(Request.of("Hi", model="m"), stream=True)
    unasked = {"together", "anthropic", "gemini", "mistral", "deepseek", "perplexity"}
    assert ("stream_options" in body) is (name not in unasked), (
        f"`unasked` names the vendors that are not sent stream_options: is it right about {name}?"
    )


@pytest.mark.parametrize("name", ["groq", "ollama", "openrouter", "anthropic", "lmstudio"])
def test_several_answers_are_refused_where_only_one_would_come(name):
    request = Request.of("Hi", model="m")
    with pytest.raises(UnsupportedField, match="does not support n;"):
        VENDORS[name].format_for("chat").encode(
            Request(model="m", messages=request.messages, n=2), stream=False
        )


def test_the_seed_has_the_name_that_the_vendor_knows():
    request = Request(model="m", messages=Request.of("Hi", model="m").messages, seed=7)
    mistral = VENDORS["mistral"].format_for("chat").encode(request, stream=False)
    assert (mistral["random_seed"], "seed" in mistral) == (7, False)
    assert VENDORS["openai"].format_for("chat").encode(request, stream=False)["seed"] == 7


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_each_host_has_prices_of_its_own_and_a_server_of_the_users_has_none(vendor):
    assert vendor.price_list == (vendor.name if vendor.needs_key else "")


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_the_address_of_a_vendor_names_the_vendor(vendor):
    if vendor.base_url is not None and vendor.needs_key:
        for url in (vendor.base_url, *vendor.other_urls):
            assert vendor_at(url) is vendor


def test_a_tier_is_requested_by_the_member_that_the_vendor_knows():
    assert VENDORS["gemini"].tier_field == "serviceTier"
    assert dict(VENDORS["gemini"].tiers) == {"flex": Decimal("0.5"), "priority": Decimal("1.8")}
    assert VENDORS["openai"].tier_field == "service_tier"
    flex = TierRoute("flex", PriceBook({}), Decimal(1), 0.0, 1.0, VENDORS["gemini"].tier_field)
    request = flex.adapt(Request.of("Hi", model="m"))
    assert (
        VENDORS["gemini"].format_for("chat").encode(request, stream=False)["serviceTier"] == "flex"
    )
    assert asked_tier(request) == "flex", "so that it is priced as flex"


def test_a_name_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"unknown provider 'x'; known are openai, .*, compatible"):
        vendor_named("x")
    assert vendor_named("groq") is VENDORS["groq"]


def test_an_invalid_url_has_no_vendor():
    assert vendor_at("http://[::1") is VENDORS["compatible"]
    assert vendor_at("") is VENDORS["compatible"]
