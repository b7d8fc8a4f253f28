"""A gateway whose endpoint is the gateway itself does not start: each call would become endless."""

import pytest

from callsheet.gateway import read_gateway
from callsheet.gateway.check import check_gateway

KEYS = '[keys]\nstore = "keys.sqlite3"\n'


async def circles(folder, listen, url, *, fallback=False, more=""):
    file = folder / "callsheet.toml"
    other = '[endpoints.other]\nbase_url = "http://127.0.0.1:1/v1"\n' if fallback else ""
    first = "other" if fallback else "main"
    spare = 'fallback = "main"\n' if fallback else ""
    file.write_text(
        f'endpoint = "{first}"\n{other}{spare}[endpoints.main]\nbase_url = "{url}"\n{more}'
        f'[gateway]\nlisten = "{listen}"\n{KEYS}'
    )
    parts = await check_gateway(read_gateway(file, {"OPENAI_API_KEY": "any"}))
    return [one.text for one in parts if one.part == "endpoint" and one.state == "error"]


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:4000", "http://127.0.0.1:4000/v1"),
        ("127.0.0.1:4000", "http://localhost:4000/v1"),
        ("[::1]:4000", "http://[::1]:4000/v1"),
        ("0.0.0.0:4000", "http://127.0.0.1:4000/v1"),
        ("10.0.0.7:4000", "http://10.0.0.7:4000/v1"),
    ],
)
async def test_an_endpoint_that_is_the_gateway_is_refused(tmp_path, listen, url):
    (text,) = await circles(tmp_path, listen, url)
    assert "is this gateway itself: unset OPENAI_BASE_URL" in text
    (text,) = await circles(tmp_path, listen, url, fallback=True)
    assert "is this gateway itself" in text


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:4000", "http://127.0.0.1:4001/v1"),
        ("127.0.0.1:0", "http://127.0.0.1:4000/v1"),
        ("127.0.0.1:443", "https://api.openai.com/v1"),
        ("unix:/run/no/gateway.sock", "http://127.0.0.1:4000/v1"),
    ],
)
async def test_other_endpoints_are_not(tmp_path, listen, url):
    assert await circles(tmp_path, listen, url) == []
