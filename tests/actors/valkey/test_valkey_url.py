"""URLs of shared servers: what they name, and that no password is ever shown."""

import string
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.valkey import SCHEMES, ServerUrl

SECRET = "hunter2-zebra"
HOSTS = st.one_of(
    st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=20),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda one: f"[{one}]"),
)
CREDENTIALS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0"), max_size=20
)


@given(
    st.sampled_from([name for name in SCHEMES if name != "unix"]),
    st.tuples(CREDENTIALS, CREDENTIALS),
    HOSTS,
    st.none() | st.integers(1, 65535),
    st.none() | st.integers(0, 999),
)
def test_every_part_of_a_url_is_read_and_shown_without_the_login(
    scheme, credentials, host, port, database
):
    username, password = credentials
    login = f"{quote(username, safe='')}:{quote(password, safe='')}@" if password else ""
    text = f"{scheme}://{login}{host}"
    text += ("" if port is None else f":{port}") + ("" if database is None else f"/{database}")
    url = ServerUrl.parse(text)
    assert url == ServerUrl(
        host=host.strip("[]"),
        port=6379 if port is None else port,
        database=database or 0,
        username=username if password else "",
        password=password,
        tls=scheme in ("valkeys", "rediss"),
    )
    assert ServerUrl.parse(str(url)) == attrs.evolve(url, username="", password="")


@given(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)),
        max_size=20,
    ),
    st.integers(0, 20),
)
def test_a_socket_is_read_and_shown(name, database):
    url = ServerUrl.parse(f"unix:///run/{quote(name)}?db={database}")
    assert (url.socket, url.database, url.host) == (f"/run/{name}", database, "")
    assert ServerUrl.parse(str(url)) == url


def test_a_socket_may_have_a_login():
    url = ServerUrl.parse(f"unix://ada:{SECRET}@/run/s")
    assert (url.socket, url.username, url.password) == ("/run/s", "ada", SECRET)
    assert SECRET not in f"{url} {url!r}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must begin with valkey://"),
        ("localhost:6379", "not a URL without a scheme"),
        ("http://localhost", "not http://"),
        ("redis://", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis://host:0", "port 0"),
        ("redis://host:66000", "malformed"),
        ("redis://[::1", "malformed"),
        ("redis://host/one", "must be a number"),
        ("redis://host/" + 9000 * "1", "must be a number"),
        ("redis://host?ssl=1", "options"),
        ("redis://host#1", "options or a fragment"),
        ("unix://run/valkey.sock", "the whole path"),
        ("unix:///run/s%00", "the whole path"),
        ("unix:///run/" + 103 * "s", "at most 107 bytes"),
        ("unix:///run/s?ssl=1", "an option that is not known"),
        ("unix:///run/s?db", "must be a number"),
    ],
)
def test_a_url_that_names_no_server_is_refused_with_the_reason(text, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        ServerUrl.parse(text)
    assert "shared server" in str(caught.value) or "a Unix socket" in str(caught.value)


@given(st.sampled_from(SCHEMES), st.text("/?#@:%[]&=;", min_size=1, max_size=4), st.booleans())
def test_a_password_that_is_not_escaped_is_in_no_error_and_in_no_text(scheme, odd, is_first):
    password = odd + SECRET if is_first else SECRET + odd
    for text in (f"{scheme}://ada:{password}@host:6379/0", f"{scheme}://:{password}@/run/s?db=1"):
        assert SECRET not in shown(text)


def shown(text):
    """Return what is shown of a URL, or why it is none; a host that was read is not secret."""
    try:
        url = ServerUrl.parse(text)
    except ValueError as error:
        return f"{error!r} {error.__cause__!r}" + (
            "" if error.__suppress_context__ else repr(error.__context__)
        )
    return f"{url} {url!r}"
