"""The proxy and the certificate authorities that the environment sets."""

import re
import ssl

import pytest
import trustme

from callsheet.actors import (
    ConnectionFailed,
    Endpoint,
    Request,
    RetryPolicy,
    TroupeSettings,
    check_environment,
    open_troupe,
)
from callsheet.actors.http.environment import default_tls_context, environment_proxy, proxy_of

URL = "https://api.example.org/v1"
PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, ""),
        ({"Https_Proxy": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY}, ""),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"all_proxy": "nonsense:x", "HTTPS_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": "127.0.0.1:3128"}, "http://127.0.0.1:3128"),
        ({"HTTPS_PROXY": " proxy:3128 "}, PROXY),
        ({"HTTPS_PROXY": "HTTP://proxy:3128/"}, "http://proxy:3128/"),
        ({"HTTPS_PROXY": "user:pass@proxy:3128"}, "http://user:pass@proxy:3128"),
        ({"HTTPS_PROXY": "[::1]:3128"}, "http://[::1]:3128"),
    ],
)
def test_the_variables_of_a_proxy_in_every_spelling(environ, proxy):
    assert environment_proxy(URL, environ) == proxy


@pytest.mark.parametrize("scheme", ["socks", "socks5", "SOCKS5", "socks5h"])
def test_a_socks_proxy_needs_a_package_and_is_taken_with_it(monkeypatch, scheme):
    """``ALL_PROXY=socks://127.0.0.1:7897/`` is what desktops set."""
    environ = {"ALL_PROXY": f"{scheme}://127.0.0.1:7897/"}
    where = "callsheet.actors.http.environment.find_spec"
    monkeypatch.setattr(where, lambda _: None)
    with pytest.raises(ValueError, match=r"^ALL_PROXY: .* needs: pip install 'httpx\[socks\]'$"):
        environment_proxy(URL, environ)
    monkeypatch.setattr(where, lambda name: name)
    expected = "socks5h" if scheme == "socks5h" else "socks5"
    assert environment_proxy(URL, environ) == f"{expected}://127.0.0.1:7897/"


@pytest.mark.parametrize(
    "value",
    [
        "http://user:hunter2@proxy:99999",
        "http//user:hunter2@proxy:3128",
        "http://user:hunter2@proxy:port",
        "http://user:hunter2@",
        "ftp://user:hunter2@proxy",
        "socks4://user:hunter2@proxy",
        "http://user:hunt/er2@proxy:1 2",
        "://user:hunter2@proxy",
        "//user:hunter2@proxy:3128",
    ],
)
@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_mistake_is_one_line_that_names_the_variable_and_shows_no_password(name, value):
    with pytest.raises(ValueError, match=f"^{name}: ") as caught:
        environment_proxy(URL, {name: value})
    text = str(caught.value)
    assert "\n" not in text
    assert not re.search("hunt|er2", text)


def test_the_client_of_a_script_sets_no_proxy():
    """In a CGI script HTTP_PROXY is the header Proxy of the request."""
    environ = {"HTTP_PROXY": PROXY}
    assert environment_proxy("http://host/v1", environ) == PROXY
    assert environment_proxy("http://host/v1", environ | {"REQUEST_METHOD": "GET"}) == ""


@pytest.mark.parametrize(
    ("without", "url", "is_direct"),
    [
        ("*", URL, True),
        ("example.org", URL, True),
        (".example.org", URL, True),
        ("*.example.org", URL, True),
        ("localhost, API.example.org", URL, True),
        ("localhost api.example.org", URL, True),
        ("api.example.org:443", URL, True),
        ("api.example.org:8443", URL, False),
        ("ample.org", URL, False),
        ("example.com", URL, False),
        ("10.0.0.0/8", "http://10.1.2.3/v1", True),
        ("10.0.0.0/8", "http://11.1.2.3/v1", False),
        ("10.0.0.0/8", URL, False),
        ("fd00::/8", "http://[fd00::1]/v1", True),
        ("fd00::1", "http://[fd00::1]/v1", True),
        ("[fd00::1]:80", "http://[fd00::1]/v1", True),
        ("", URL, False),
    ],
)
def test_the_hosts_without_a_proxy(without, url, is_direct):
    environ = {"ALL_PROXY": PROXY, "NO_PROXY": without}
    assert environment_proxy(url, environ) == ("" if is_direct else PROXY)


def test_a_host_without_a_proxy_that_is_a_url_is_a_mistake():
    environ = {"ALL_PROXY": PROXY, "NO_PROXY": "http://intranet"}
    with pytest.raises(ValueError, match=r"^NO_PROXY: 'http://intranet' is neither a host nor"):
        environment_proxy(URL, environ)


def test_the_proxy_of_an_endpoint_precedes_and_this_machine_needs_none():
    environ = {"ALL_PROXY": PROXY, "HTTP_PROXY": "nonsense:x"}
    assert proxy_of(Endpoint(URL), environ) == PROXY
    assert proxy_of(Endpoint(URL, proxy=""), environ) == ""
    assert proxy_of(Endpoint(URL, proxy="http://mine:1"), environ) == "http://mine:1"
    assert proxy_of(Endpoint("http://127.0.0.1:8080/v1"), environ) == ""


# ------------------------------------------------------------------ authorities


@pytest.fixture
def pem(tmp_path):
    path = tmp_path / "corporate.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_file_of_authorities_replaces_the_usual_ones(monkeypatch, pem, name):
    for other in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(pem))
    context = default_tls_context()
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_the_variables_of_openssl_precede_those_of_other_programs(monkeypatch, pem):
    environ = {"SSL_CERT_FILE": str(pem), "REQUESTS_CA_BUNDLE": "/nowhere"}
    check_environment(Endpoint(URL), environ)


def test_a_folder_of_authorities(monkeypatch, tmp_path, pem):
    environ = {"SSL_CERT_DIR": str(tmp_path)}
    with pytest.raises(ValueError, match=r"^SSL_CERT_DIR: .* openssl rehash"):
        check_environment(Endpoint(URL), environ)
    pem.rename(tmp_path / "0123abcd.0")
    check_environment(Endpoint(URL), environ)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----"])
def test_authorities_that_cannot_be_read_are_one_line(tmp_path, name, content):
    path = tmp_path / "authorities"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"^{name}: ") as caught:
        check_environment(Endpoint(URL), {name: str(path)})
    assert "\n" not in str(caught.value)


def test_a_file_and_a_folder_are_not_taken_for_each_other(tmp_path):
    with pytest.raises(ValueError, match=r"^SSL_CERT_FILE: .* is a folder; SSL_CERT_DIR"):
        check_environment(Endpoint(URL), {"SSL_CERT_FILE": str(tmp_path)})


def test_what_does_not_apply_is_not_checked(pem):
    environ = {"SSL_CERT_FILE": "/nowhere", "HTTPS_PROXY": "nonsense:x"}
    check_environment(Endpoint("http://api.example.org/v1"), environ)
    context = ssl.create_default_context()
    check_environment(Endpoint(URL, proxy="", ssl_context=context), environ)


async def test_a_troupe_is_not_cast_with_such_a_mistake(monkeypatch, log):
    monkeypatch.setenv("https_proxy", "127.0.0.1:port")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ValueError, match=r"^https_proxy: "):
        async with open_troupe(TroupeSettings(endpoint=Endpoint(URL))):
            pass
    assert log == []


@pytest.mark.sockets
async def test_a_proxy_that_cannot_be_reached_is_named(log):
    """The provider is not blamed, and the password is not shown (L8)."""
    endpoint = Endpoint(URL, "k", proxy="http://user:hunter2@127.0.0.1:9")
    settings = TroupeSettings(endpoint=endpoint, retry=RetryPolicy(max_attempts=1))
    async with open_troupe(settings) as troupe:
        with pytest.raises(ConnectionFailed) as caught:
            await troupe.complete(Request.of("Hi", model="m"), timeout=10)
    expected = (
        "cannot connect to api.example.org through the proxy 127.0.0.1:9 (Connection refused)"
    )
    assert str(caught.value).startswith(expected)
    assert "hunter2" not in str(caught.value)
