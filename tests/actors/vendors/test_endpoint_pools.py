"""One endpoint of several: names of keys, deployments, and the secrets of all members (L8)."""

import pytest

from callsheet.actors import Endpoint, Request, TroupeSettings

FIRST, SECOND = "sk-first-000000000000", "sk-second-11111111111"
CHAT = Request.of("Hi", model="gpt-5.4-nano")


def pool_of(*members):
    return Endpoint.pool(members)


def test_a_pool_names_its_keys_by_their_place():
    pool = pool_of(Endpoint.of("openai", FIRST), Endpoint.of("openai", SECOND))
    assert [member.label for member in pool.each] == [
        "api.openai.com key 1",
        "api.openai.com key 2",
    ]


def test_a_name_that_is_given_stays():
    named = Endpoint.of("openai", SECOND, key_name="team")
    pool = pool_of(Endpoint.of("openai", FIRST), named)
    assert [member.key_name for member in pool.each] == ["key 1", "team"]


def test_an_endpoint_that_is_no_pool_is_its_only_member():
    endpoint = Endpoint.of("openai", FIRST)
    assert endpoint.each == (endpoint,)
    assert endpoint.label == "api.openai.com"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ((), "a pool needs at least one endpoint"),
        (
            (Endpoint.of("openai", key_name="a"), Endpoint.of("groq", key_name="a")),
            "each key_name in a pool must be unique, not a, a",
        ),
        (
            (Endpoint.of("openai"), Endpoint.of("groq", key_name="key 1")),
            "must be unique, not key 1, key 1",
        ),
        ((pool_of(Endpoint.of("openai")),), "cannot be a pool itself"),
    ],
)
def test_members_that_make_no_pool_are_refused(members, reason):
    with pytest.raises(ValueError, match=reason):
        Endpoint.pool(members)


def test_a_member_or_an_endpoint_of_another_type_is_refused_without_being_shown():
    with pytest.raises(TypeError, match=r"must be an Endpoint, not a str$"):
        Endpoint.pool([Endpoint.of("openai", FIRST), SECOND])
    with pytest.raises(TypeError, match=r"endpoint must be an Endpoint, .*, not a str$"):
        TroupeSettings(endpoint=f"https://user:{FIRST}@provider/v1")


@pytest.mark.parametrize("weight", [0, -1, float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        Endpoint.of("openai", weight=weight)


def test_no_key_of_a_pool_shows():
    later = Endpoint.of("openai", lambda: SECOND)
    pool = pool_of(Endpoint.of("openai", FIRST), later)
    later.auth_headers()
    assert FIRST not in repr(pool)
    assert SECOND not in repr(pool)
    for member in pool.each:
        member.auth_headers()
    assert pool.scrub(f"{FIRST} and {SECOND}") == "*** and ***"
    assert pool.is_quoted_in(f"wrong: {SECOND}".encode())


def test_keys_of_one_deployment_have_one_identity():
    one, two = Endpoint.of("openai", FIRST, key_name="a"), Endpoint.of("openai", SECOND)
    assert one.identity == two.identity


def test_deployments_of_one_host_have_two_identities(monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    one = Endpoint.of("azure", FIRST, deployment="nano")
    two = Endpoint.of("azure", FIRST, deployment="mini")
    assert one.base_url == "https://mine.openai.azure.com/openai/v1"
    assert one.identity != two.identity


def test_a_deployment_replaces_the_model():
    endpoint = Endpoint("https://mine.openai.azure.com/openai/v1", FIRST, deployment="nano")
    assert endpoint.request_there(CHAT).model == "nano"
    assert Endpoint.of("openai", FIRST).request_there(CHAT) is CHAT
