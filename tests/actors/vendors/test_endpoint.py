"""Endpoints: which values are refused, and which are never shown."""

import ssl
import traceback
from urllib.parse import unquote, urlsplit

import attrs
import pytest

from callsheet.actors import VENDORS, Endpoint, Request, Timeouts, UnsupportedField

KEY = "sk-secret-0123456789"


def test_the_key_is_in_no_repr():
    endpoint = Endpoint("http://provider/v1", KEY)
    assert KEY not in repr(endpoint)
    assert KEY not in str(endpoint)
    assert KEY not in repr([attrs.evolve(endpoint, base_url="http://other/v1")])


def test_a_password_in_the_url_is_in_no_repr_and_no_message():
    """L8: it gives access to the provider, as a key does."""
    endpoint = Endpoint("http://user:hunter2@provider/v1")
    assert "hunter2" not in repr(endpoint)
    assert "hunter2" not in endpoint.host
    with pytest.raises(ValueError, match="base_url") as caught:
        Endpoint("ftp://user:hunter2@provider/v1")
    assert "hunter2" not in str(caught.value)


def test_the_key_is_scrubbed_wherever_it_is_quoted():
    endpoint = Endpoint("http://provider/v1", KEY)
    assert endpoint.scrub(f"bad key {KEY}, I said {KEY}.") == "bad key ***, I said ***."
    assert Endpoint("http://provider/v1").scrub("nothing to hide") == "nothing to hide"


@pytest.mark.parametrize(
    ("url", "base_url", "host"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1", "api.openai.com"),
        (" https://api.openai.com/v1/ ", "https://api.openai.com/v1", "api.openai.com"),
        ("http://127.0.0.1:8080/v1//", "http://127.0.0.1:8080/v1", "127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080", "[::1]:8080"),
        ("http://bücher.example/v1", "http://bücher.example/v1", "xn--bcher-kva.example"),
    ],
)
def test_urls_that_will_do(url, base_url, host):
    endpoint = Endpoint(url)
    assert (endpoint.base_url, endpoint.host) == (base_url, host)


@pytest.mark.parametrize(
    "url",
    ["", "api.openai.com/v1", "localhost:8080", "ftp://host/v1", "http://", "http://[::1", "http:"],
)
def test_urls_that_will_not_are_refused_by_name(url):
    with pytest.raises(ValueError, match="base_url"):
        Endpoint(url)


@pytest.mark.parametrize("url", ["https://provider/v1?api-version=2", "https://provider/v1#top"])
def test_a_url_that_nothing_can_be_appended_to_is_refused(url):
    """The path of the call would become part of its query."""
    with pytest.raises(ValueError, match="base_url"):
        Endpoint(url)


def test_the_remedy_for_a_url_with_a_query_is_named_and_shows_no_value():
    with pytest.raises(ValueError, match=r"has a query, .*: give it as `query` instead") as caught:
        Endpoint("https://provider/v1?key=hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_url_with_an_open_bracket_is_not_said_to_have_a_wrong_port():
    with pytest.raises(ValueError, match="a bracket is not closed"):
        Endpoint("http://[::1/v1")


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://localhost/v1", True),
        ("http://10.0.0.1/v1", False),
        ("https://api.openai.com/v1", False),
        ("https://127.0.0.1.example.com/v1", False),
    ],
)
def test_which_are_on_this_machine(url, is_loopback):
    assert Endpoint(url).is_loopback is is_loopback


@pytest.mark.parametrize("key", ["sk-1\n", " sk-1", "sk-1\r\nx-evil: 1", "schlüssel", "sk\x7f"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key):
    with pytest.raises(ValueError, match="api_key") as caught:
        Endpoint("http://provider/v1", key)
    assert key.strip() not in str(caught.value)


def test_an_empty_key_is_refused():
    """An empty environment variable: the header "Bearer " cannot be sent."""
    with pytest.raises(ValueError, match="api_key"):
        Endpoint("http://provider/v1", "")


# ------------------------------------------------------------------ keys and headers


@pytest.mark.parametrize(
    ("vendor", "headers"),
    [
        ("openai", {"authorization": f"Bearer {KEY}"}),
        ("compatible", {"authorization": f"Bearer {KEY}"}),
        ("azure", {"api-key": KEY}),
        ("anthropic", {"x-api-key": KEY, "anthropic-version": "2023-06-01"}),
        ("gemini", {"x-goog-api-key": KEY}),
    ],
)
def test_the_key_is_only_in_the_header_that_the_vendor_requires(vendor, headers):
    endpoint = Endpoint("http://provider/v1", KEY, vendor)
    assert endpoint.auth_headers() == headers
    assert KEY not in endpoint.url(Request.of("Hi", model="m"))
    assert KEY not in "".join(Endpoint("http://provider/v1", vendor=vendor).auth_headers())


def test_an_access_token_of_anthropic_is_sent_as_a_bearer_with_its_beta_header():
    token = "sk-ant-oat01-1234567890"
    version, beta = {"anthropic-version": "2023-06-01"}, "oauth-2025-04-20"
    endpoint = Endpoint.of("anthropic", token)
    bearer = {"authorization": f"Bearer {token}", **version}
    assert endpoint.auth_headers() == {**bearer, "anthropic-beta": beta}
    assert endpoint.scrub(token) == "***"
    more = Endpoint(endpoint.base_url, lambda: token, headers={"Anthropic-Beta": "fast-mode"})
    assert more.auth_headers() == {**bearer, "anthropic-beta": f"fast-mode,{beta}"}


def test_a_key_that_changes_is_asked_for_anew_and_every_one_is_scrubbed():
    keys = iter(["sk-first", "sk-second"])
    endpoint = Endpoint("http://provider/v1", lambda: next(keys))
    assert endpoint.auth_headers() == {"authorization": "Bearer sk-first"}
    assert endpoint.auth_headers() == {"authorization": "Bearer sk-second"}
    assert endpoint.scrub("sk-first, then sk-second") == "***, then ***"
    assert "sk-" not in repr(endpoint)


def test_what_is_remembered_of_keys_is_bounded():
    """A function may return a new token for every attempt, for days."""
    numbers = iter(range(10_000))
    endpoint = Endpoint("http://provider/v1", lambda: f"token-{next(numbers):05}")
    for _ in range(5000):
        endpoint.auth_headers()
    assert endpoint.scrub("token-04999 token-04500") == "*** ***"
    assert len(endpoint._handed_out) == 1000


@pytest.mark.parametrize("key", ["", "sk-1\n", "schlüssel"])
def test_what_a_function_returns_is_checked_as_a_key_is(key):
    endpoint = Endpoint("http://provider/v1", lambda: key)
    with pytest.raises(ValueError, match="api_key"):
        endpoint.auth_headers()


def test_a_key_that_is_neither_a_text_nor_a_function_is_refused():
    with pytest.raises(TypeError, match="api_key"):
        Endpoint("http://provider/v1", b"sk-1")


def test_further_headers_win_and_their_values_are_in_no_repr():
    endpoint = Endpoint(
        "http://provider/v1",
        vendor="azure",
        headers={"Authorization": "Bearer entra-token", "X-Team": "posts"},
    )
    assert endpoint.auth_headers() == {"authorization": "Bearer entra-token", "x-team": "posts"}
    assert "entra" not in repr(endpoint)
    assert "x-team" in repr(endpoint)
    assert endpoint.scrub("entra-token of posts") == "*** of posts"


@pytest.mark.parametrize(
    "headers", [{"x y": "1"}, {"": "1"}, {"x": "a\r\nb: c"}, {"x": " a"}, {"schlüssel": "1"}]
)
def test_headers_that_cannot_be_sent_are_refused_by_name(headers):
    with pytest.raises(ValueError, match="headers"):
        Endpoint("http://provider/v1", headers=headers)


def test_passwords_of_urls_are_shown_nowhere():
    endpoint = Endpoint(
        "http://user:hunt%20er2@provider/v1", proxy="http://user:swordfish@proxy:3128"
    )
    assert "swordfish" not in repr(endpoint)
    assert "hunt" not in repr(endpoint)
    assert endpoint.scrub("hunt%20er2, hunt er2, swordfish") == "***, ***, ***"


def test_a_key_is_scrubbed_as_a_whole_word_and_only_where_it_is_long_enough():
    assert Endpoint("http://provider/v1", "k").scrub("asked k") == "asked k"
    assert Endpoint("http://provider/v1", "EMPTY").scrub("EMPTY list") == "EMPTY list"
    endpoint = Endpoint("http://provider/v1", "lm-studio")
    assert endpoint.scrub("lm-studio, lm-studios, (lm-studio)") == "***, lm-studios, (***)"
    long = Endpoint("http://provider/v1", KEY)
    assert long.scrub(f"x{KEY}x {KEY[:14]}") == "x***x ***", "it is in no text by chance"


def test_a_key_in_the_path_of_a_url_is_shown_nowhere():
    endpoint = Endpoint(f"https://gateway/v1/{KEY}/openai")
    other = Endpoint("https://gateway/v1/sk-other-0123456789/openai")
    assert endpoint.shown_url == "https://gateway/v1/***/openai"
    assert KEY not in repr(endpoint) + endpoint.identity
    assert endpoint.identity != other.identity
    assert endpoint.scrub(f"no such path: /v1/{KEY}") == "no such path: /v1/***"


def test_a_token_instead_of_a_user_is_shown_nowhere():
    endpoint = Endpoint(f"https://{KEY}@gateway/v1")
    assert KEY not in repr(endpoint) + endpoint.identity + endpoint.shown_url
    assert endpoint.scrub(f"who is {KEY}?") == "who is ***?"


@pytest.mark.parametrize(
    "url", [f"https://gw/v1?key={KEY}", f"https://gw/v1/{KEY}?x=1", f"{KEY}@gw"]
)
def test_a_url_that_is_refused_is_shown_without_its_keys(url):
    with pytest.raises(ValueError, match="base_url") as caught:
        Endpoint(url)
    assert KEY not in str(caught.value)


PASSWORD = "hunter2secret"  # which has not the form of a key
PLACES = [
    "https://gw/v1?code={}",
    "https://gw/v1?a=1&api-key={}&b=2",
    "https://gw/v1#{}",
    "https://gw/v1?x#key={}",
    "https://gw/v1;key={}",
    "https://gw/v1/token={}/x",
    "https://gw/v1%3Fapi-key={}",
    "https://me:{}@gw/v1",
    "https://me:{}@gw:99999/v1",
    "https://me:{}/v1",
    "me:{}",
    "http://[::1/v1?key={}",
    "ftp://me:{}@gw",
    "https://gw/v1?key={}@gw",
]


def all_texts(**arguments):
    """Return all that is shown of an endpoint, or of the error that refuses it."""
    try:
        endpoint = Endpoint(**arguments)
    except ValueError as error:
        return "".join(traceback.format_exception(error))
    path = unquote(urlsplit(endpoint.base_url).path)
    quoted = endpoint.scrub(f"no such path: {path}")
    return repr((endpoint, endpoint.identity, endpoint.shown_url, endpoint.label, quoted))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", [KEY, PASSWORD])
def test_a_key_anywhere_in_a_url_is_shown_by_no_error_and_no_text(place, secret):
    """L8: also in the URL of a proxy, and where the URL is accepted."""
    url = place.format(secret)
    assert secret not in all_texts(base_url=url)
    assert secret not in all_texts(base_url="http://gw/v1", proxy=url)


def test_values_that_the_user_marks_are_shown_nowhere():
    headers, query = {"X-Tenant": "acme4711"}, {"account": "dept-0042"}
    plain = Endpoint("http://provider/v1", headers=headers, query=query)
    assert plain.scrub("acme4711 of dept-0042") == "acme4711 of dept-0042"
    endpoint = attrs.evolve(plain, secret_names=["x-tenant", "Account"])
    assert endpoint.scrub("acme4711 of dept-0042") == "*** of ***"
    assert endpoint.auth_headers()["x-tenant"] == "acme4711"


# ------------------------------------------------------------------ vendors and URLs


@pytest.mark.parametrize(
    ("url", "vendor"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.openai.com/v1/", "openai"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta", "gemini"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "compatible"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("https://openai.azure.com.example.org/v1", "compatible"),
        ("http://127.0.0.1:8000/v1", "compatible"),
        ("https://llm.example.org/v1", "compatible"),
    ],
)
def test_the_vendor_follows_from_the_address_unless_it_is_given(url, vendor):
    assert Endpoint(url).vendor is VENDORS[vendor]
    assert Endpoint(url, vendor="vllm").vendor is VENDORS["vllm"]
    assert f"vendor='{vendor}'" in repr(Endpoint(url))


def test_a_vendor_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="'opanai'; known are openai, azure, anthropic"):
        Endpoint("http://provider/v1", vendor="opanai")


def test_a_vendor_of_ones_own():
    mine = attrs.evolve(VENDORS["vllm"], name="mine", key_header="x-mine", key_prefix="")
    assert Endpoint("http://provider/v1", KEY, mine).auth_headers() == {"x-mine": KEY}


def test_the_address_of_a_vendor(monkeypatch):
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    endpoint = Endpoint.of("anthropic", KEY)
    assert (endpoint.base_url, endpoint.vendor.name) == (
        "https://api.anthropic.com/v1",
        "anthropic",
    )
    with pytest.raises(ValueError, match="Azure OpenAI has a different address"):
        Endpoint.of("azure")


CHAT = Request.of("Hi", model="m")
EMBEDDING = Request.embedding("Hi", model="m")


@pytest.mark.parametrize(
    ("vendor", "request_", "stream", "url"),
    [
        ("openai", CHAT, False, "http://p/v1/chat/completions"),
        ("openai", CHAT, True, "http://p/v1/chat/completions"),
        ("openai", EMBEDDING, False, "http://p/v1/embeddings"),
        (
            "vllm",
            Request(model="m", task="completion", inputs="a"),
            True,
            "http://p/v1/completions",
        ),
        ("anthropic", CHAT, False, "http://p/v1/messages"),
        ("gemini", CHAT, False, "http://p/v1/models/m:generateContent"),
        ("gemini", CHAT, True, "http://p/v1/models/m:streamGenerateContent?alt=sse"),
    ],
)
def test_where_a_request_is_sent(vendor, request_, stream, url):
    assert Endpoint("http://p/v1", vendor=vendor).url(request_, stream=stream) == url
    more = Endpoint("http://p/v1", vendor=vendor, query={"api-version": "2024 10"})
    sign = "&" if "?" in url else "?"
    assert more.url(request_, stream=stream) == f"{url}{sign}api-version=2024+10"


def test_a_task_that_the_vendor_does_not_take_is_refused():
    with pytest.raises(
        UnsupportedField, match="Anthropic does not support task='embedding'; it supports"
    ):
        Endpoint.of("anthropic").url(EMBEDDING)


# ------------------------------------------------------------------ the way there


def test_two_sockets_under_one_url_have_names_of_their_own():
    """They are two servers: a ledger has a line for each, as caches and journals have (L12)."""
    one, other = (Endpoint("http://gw/v1", "sk-0123456789", uds=f"/{name}.sock") for name in "ab")
    assert (one.host, one.label) == ("gw (/a.sock)", "gw (/a.sock)")
    assert other.label == "gw (/b.sock)"
    assert attrs.evolve(one, key_name="key 2").label == "gw (/a.sock) key 2"


def test_a_unix_socket_is_on_this_machine():
    endpoint = Endpoint("http://provider/v1", uds="/run/provider.sock", http2=True)
    assert endpoint.is_loopback
    with pytest.raises(ValueError, match="uds and proxy"):
        attrs.evolve(endpoint, proxy="http://proxy:3128")


@pytest.mark.parametrize("proxy", ["proxy:3128", "ftp://user:hunter2@proxy", "http://"])
def test_proxies_that_will_not_do_are_refused_by_name(proxy):
    with pytest.raises(ValueError, match="proxy") as caught:
        Endpoint("http://provider/v1", proxy=proxy)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("proxy", [None, "", "http://proxy:3128", "socks5://user:pw@proxy:1080"])
def test_proxies_that_will_do(proxy):
    assert Endpoint("http://provider/v1", proxy=proxy).proxy == proxy


@pytest.mark.parametrize(("field", "value"), [("ssl_context", True), ("http2", "yes")])
def test_settings_of_another_type_are_refused_by_name(field, value):
    with pytest.raises(TypeError, match=field):
        Endpoint("http://provider/v1", **{field: value})


def test_an_endpoint_can_be_a_key_of_a_dictionary():
    context = ssl.create_default_context()
    one = Endpoint("https://p/v1", KEY, headers={"x": "1"}, ssl_context=context)
    other = Endpoint("https://p/v1", KEY, headers={"x": "1"}, ssl_context=context)
    one.auth_headers()
    assert {one: 1}[other] == 1
    assert one != attrs.evolve(other, headers={"x": "2"})


@pytest.mark.parametrize("field", ["connect_s", "first_byte_s", "between_bytes_s", "write_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_timeouts_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        Timeouts(**{field: value})
