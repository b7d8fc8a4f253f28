"""The identity of an endpoint says which server answers (L12), and contains no key (L8)."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.vendors import VENDORS, Endpoint

KEY = "sk-abcdefghijklmnop"
URL = "https://gw/v1"

ways = st.fixed_dictionaries(
    {},
    optional={
        "base_url": st.sampled_from(["http://gw/v1", "https://two/v1", "https://gw/a%2Fb"]),
        "uds": st.sampled_from(["/a.sock", "/b.sock", "/a.sock#api=chat"]),
        "api": st.sampled_from(["chat", "responses"]),
        "deployment": st.sampled_from(["nano", "responses", "nano#api=chat"]),
        "vendor": st.sampled_from(["anthropic", "gemini"]),
        "query": st.dictionaries(
            st.sampled_from(["api-version", "region"]), st.sampled_from(["1", "2", "1&region=2"])
        ),
        "headers": st.dictionaries(
            st.sampled_from(["openai-organization", "openai-project", "x-portkey-config"]),
            st.sampled_from(["a", "b", "a#api=chat"]),
        ),
    },
)
secrets = st.fixed_dictionaries(
    {},
    optional={
        "api_key": st.sampled_from([KEY, "other-key"]),
        "key_name": st.just("key 2"),
        "weight": st.just(2.0),
    },
)


def endpoint_of(way, secret):
    return Endpoint(**({"base_url": URL} | way | secret))


def sent(way):
    """What decides which server answers, without what is empty."""
    return {name: value for name, value in ({"base_url": URL} | way).items() if value}


@given(ways, ways, secrets, secrets)
def test_two_endpoints_have_one_identity_if_and_only_if_requests_go_one_way(one, two, key, other):
    """L12: scheme, host, path, query, socket, headers, API and vendor; never the key."""
    identities = endpoint_of(one, key).identity, endpoint_of(two, other).identity
    assert (identities[0] == identities[1]) == (sent(one) == sent(two))


@pytest.mark.parametrize("name", ["x-api-key", "authorization", "helicone-auth", "X-Session-Token"])
def test_no_key_in_a_header_or_parameter_is_in_the_identity(name):
    plain = Endpoint(URL).identity
    assert Endpoint(URL, headers={name: KEY}).identity == plain
    assert Endpoint(URL, query={name: KEY}).identity == plain


def test_a_header_that_the_user_calls_secret_is_not_in_the_identity():
    endpoint = Endpoint(URL, headers={"x-group": "a"}, secret_names=["X-Group"])
    assert endpoint.identity == Endpoint(URL).identity


@pytest.mark.parametrize("name", ["openai-project", "x-group", "region", "api-version"])
def test_what_looks_like_a_key_or_may_be_one_is_a_digest(name):
    for endpoint in (Endpoint(URL, headers={name: KEY}), Endpoint(URL, query={name: KEY})):
        assert KEY not in endpoint.identity
        assert endpoint.identity != Endpoint(URL).identity


def test_no_user_and_password_of_a_url_is_in_the_identity():
    assert Endpoint(f"https://me:{KEY}@gw/v1").identity == Endpoint(URL).identity


@pytest.mark.parametrize("name", ["user-agent", "traceparent", "x-title", "HTTP-Referer"])
def test_a_header_that_names_the_caller_changes_nothing(name):
    """Else each program, and each trace, would have a cache of its own."""
    assert Endpoint(URL, headers={name: "a"}).identity == Endpoint(URL).identity


def test_the_version_that_the_vendor_asks_for_is_in_the_identity():
    usual, later = Endpoint.of("anthropic"), "2099-01-01"
    assert usual.identity == "https://api.anthropic.com/v1#anthropic-version:2023-06-01"
    changed = attrs.evolve(usual, headers={"anthropic-version": later}).identity
    assert changed == f"https://api.anthropic.com/v1#anthropic-version:{later}"


def test_an_identity_is_short_and_can_be_read_where_only_a_url_is_given():
    assert Endpoint("https://api.openai.com/v1/", KEY).identity == "https://api.openai.com/v1"
    headers = {"OpenAI-Project": "proj_1"}
    assert Endpoint.of("openai", KEY, api="chat").identity == "https://api.openai.com/v1#api=chat"
    named = attrs.evolve(Endpoint.of("openai"), headers=headers)
    assert named.identity == "https://api.openai.com/v1#openai-project:proj_1"


def test_each_vendor_has_an_identity_of_its_own():
    of_vendor = {name: Endpoint(URL, vendor=vendor).identity for name, vendor in VENDORS.items()}
    assert len(set(of_vendor.values())) == len(VENDORS)
