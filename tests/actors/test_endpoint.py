"""Where a provider is: what is refused, and what is never shown."""

import attrs
import pytest

from callsheet.actors import Endpoint, Timeouts

KEY = "sk-secret-0123456789"


def test_the_key_is_in_no_repr():
    endpoint = Endpoint("http://provider/v1", KEY)
    assert KEY not in repr(endpoint)
    assert KEY not in str(endpoint)
    assert KEY not in repr([attrs.evolve(endpoint, base_url="http://other/v1")])


def test_a_password_in_the_url_is_in_no_repr_and_no_message():
    """L8: it opens the provider as a key does."""
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
    """The path of the call would become a part of its query."""
    with pytest.raises(ValueError, match="base_url"):
        Endpoint(url)


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
    """An empty variable in the environment; "Bearer " is no header that can be sent."""
    with pytest.raises(ValueError, match="api_key"):
        Endpoint("http://provider/v1", "")


@pytest.mark.parametrize("field", ["connect_s", "read_s", "write_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_timeouts_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        Timeouts(**{field: value})
