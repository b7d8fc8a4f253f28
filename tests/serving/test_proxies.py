"""Who the client is: a proxy is believed, and a client that pretends to be one is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.serving import TrustedProxies
from callsheet.serving.proxies import Client, ForgedProxyHeaders

PROXIES = TrustedProxies.parse(["10.0.0.0/8", "::1", "fd00::/8", "unix"])
PROXY = ("10.1.1.1", 4711)


def headers(**named):
    return [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, values in named.items()
        for value in (values if isinstance(values, list) else [values])
    ]


@pytest.mark.parametrize("peer", [("9.9.9.9", 1), ("11.0.0.1", 1), ("fe80::1", 1), ("", 0)])
def test_a_peer_that_is_no_proxy_is_the_client(peer):
    sent = headers(x_forwarded_for="1.2.3.4", x_forwarded_proto="https", forwarded="for=1.2.3.4")
    assert PROXIES.client(peer, sent) is None


def test_no_proxy_is_trusted_by_default():
    assert TrustedProxies().client(("127.0.0.1", 1), headers(x_forwarded_for="1.2.3.4")) is None
    assert TrustedProxies().client(None, headers(x_forwarded_for="1.2.3.4")) is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"x_forwarded_for": "1.2.3.4"}, Client("1.2.3.4", 0)),
        ({"x_forwarded_for": "1.2.3.4:56"}, Client("1.2.3.4", 56)),
        ({"x_forwarded_for": "[2001:db8::1]:56"}, Client("2001:db8::1", 56)),
        ({"x_forwarded_for": "2001:DB8::1"}, Client("2001:db8::1", 0)),
        ({"x_forwarded_for": "::ffff:1.2.3.4"}, Client("1.2.3.4", 0)),
        # Left of the last hop that is no proxy is what the client has written itself.
        ({"x_forwarded_for": "127.0.0.1, 1.2.3.4, 10.2.2.2"}, Client("1.2.3.4", 0)),
        ({"x_forwarded_for": ["127.0.0.1", "1.2.3.4", "10.2.2.2"]}, Client("1.2.3.4", 0)),
        ({"x_forwarded_for": "10.3.3.3, 10.2.2.2"}, Client("10.3.3.3", 0)),
        # A hop that cannot be read is a client without a name, and not the one left of it.
        ({"x_forwarded_for": "127.0.0.1, unknown"}, Client("unknown", 0)),
        ({"x_forwarded_for": "127.0.0.1, "}, Client("unknown", 0)),
        ({"x_forwarded_for": "127.0.0.1, 1.2.3.4\x00"}, Client("unknown", 0)),
        ({"x_forwarded_for": "a.b, 1.2.3.4:99999999"}, Client("1.2.3.4", 0)),
        ({"forwarded": "for=1.2.3.4"}, Client("1.2.3.4", 0)),
        (
            {"forwarded": 'For="[2001:db8::1]:56";Proto=HTTPS;by=x'},
            Client("2001:db8::1", 56, "https"),
        ),
        ({"forwarded": 'for="a,b";proto=http, for=1.2.3.4'}, Client("1.2.3.4", 0)),
        ({"forwarded": "for=_hidden"}, Client("unknown", 0)),
        ({"forwarded": "by=1.2.3.4"}, Client("unknown", 0)),
        (
            {"forwarded": ["for=127.0.0.1", "for=1.2.3.4;proto=https"]},
            Client("1.2.3.4", 0, "https"),
        ),
        # The scheme of the same hop, or the last one if they cannot be told apart.
        (
            {
                "x_forwarded_for": "9.9.9.9, 1.2.3.4, 10.2.2.2",
                "x_forwarded_proto": "ftp,https,http",
            },
            Client("1.2.3.4", 0, "https"),
        ),
        (
            {"x_forwarded_for": "9.9.9.9, 1.2.3.4", "x_forwarded_proto": "https"},
            Client("1.2.3.4", 0, "https"),
        ),
        ({"x_forwarded_for": "1.2.3.4", "x_forwarded_proto": "gopher"}, Client("1.2.3.4", 0)),
        ({"x_forwarded_proto": "https"}, Client(*PROXY, "https")),
        ({"x_forwarded_for": "1.2.3.4", "forwarded": "for=1.2.3.4"}, Client("1.2.3.4", 0)),
        ({}, None),
    ],
)
def test_a_proxy_is_believed(sent, expected):
    assert PROXIES.client(PROXY, headers(**sent)) == expected
    if sent != {"x_forwarded_proto": "https"}:
        assert PROXIES.client(None, headers(**sent)) == expected


def test_two_kinds_of_headers_that_differ_are_refused():
    """A proxy sets one kind, and passes the other one on as the client has written it."""
    sent = headers(x_forwarded_for="1.2.3.4", forwarded="for=127.0.0.1")
    with pytest.raises(ForgedProxyHeaders):
        PROXIES.client(PROXY, sent)


@pytest.mark.parametrize("name", ["x_forwarded_for", "forwarded"])
def test_a_long_line_of_hops_takes_no_time(name):
    with pytest.raises(ForgedProxyHeaders, match="too long"):
        PROXIES.client(PROXY, headers(**{name: "for=10.0.0.1, " * 4000}))


def test_a_peer_of_ipv4_on_a_socket_of_ipv6_is_known():
    sent = headers(x_forwarded_for="1.2.3.4")
    assert PROXIES.client(("::ffff:10.1.1.1", 1), sent) == Client("1.2.3.4", 0)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy", "", "300.0.0.0/8", "*"])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match=r"is no network of proxies: .*write one such as"):
        TrustedProxies.parse(["10.0.0.0/8", text])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"]),
            st.text('for=1.2;proto"\\,[]: \x00é', max_size=40).map(lambda text: text.encode()),
        ),
        max_size=4,
    )
)
def test_any_headers_give_an_address_or_none(sent):
    try:
        client = PROXIES.client(PROXY, sent)
    except ForgedProxyHeaders:
        return
    assert (
        client is None or client.host == "unknown" or set(client.host) <= set("0123456789abcdef:.")
    )
