"""The page of a whole gateway: its keys, its calls and its end, over real sockets."""

from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from page_demo import KEY

from callsheet.actors import Endpoint, Limits, Rate, TroupeSettings
from callsheet.gateway import GatewaySettings, ModelRoute, open_gateway
from callsheet.gateway.keys import KeyFile, KeyTerms
from callsheet.gateway.page import feed
from callsheet.serving import Listen, ServingLimits
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

pytestmark = pytest.mark.sockets
BODY = {"model": "gpt-5-nano", "messages": [{"role": "user", "content": "my secret plan"}]}


@asynccontextmanager
async def open_keyed(folder, *, admin_key=KEY):
    """A gateway with two keys, of which one has a limit of its own; yield it and the keys."""
    with KeyFile(folder / "keys.sqlite3", create=True) as store:
        secrets = {
            name: store.create(KeyTerms(name=name, **terms)).secret
            for name, terms in {"team-a": {}, "team-b": {"in_flight": 1}}.items()
        }
    transport = ProviderTransport(Provider(ProviderSettings(latency_s=(0.2, 0.2))))
    troupe = TroupeSettings(
        endpoint=Endpoint("http://provider.test/v1", "key-of-the-provider"),
        transport=transport,
        limits=Limits(rates=(Rate("requests", 6000),), in_flight=8),
    )
    settings = GatewaySettings(
        troupes={"main": troupe},
        routes=[ModelRoute(name="*", troupe="main")],
        listen=[Listen()],
        clients=ServingLimits(linger_s=0.05),
        keys=folder / "keys.sqlite3",
        admin_key=admin_key,
    )
    async with transport, open_gateway(settings) as gateway:
        yield gateway, secrets


async def complete(client, url, secret):
    headers = {"authorization": f"Bearer {secret}"}
    return await client.post(f"{url}/v1/chat/completions", json=BODY, headers=headers)


def lanes_of(reading):
    return {lane["name"] for lane in reading["troupes"][0]["reading"]["lanes"]}


def is_busy(reading):
    return len(lanes_of(reading)) == 2 and any(one["waiting"] for one in reading["tenants"])


async def reading_of(client, url, wanted):
    """Return the first reading that has what is wanted."""
    headers = {"authorization": f"Bearer {KEY}"}
    with trio.fail_after(10):
        while True:
            reading = (await client.get(f"{url}/api/reading", headers=headers)).json()
            if wanted(reading):
                return reading
            await trio.sleep(0.02)


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Read the gateway as often as a test looks."""
    monkeypatch.setattr(feed, "_EVERY_S", 0.01)
    monkeypatch.setattr(feed, "_TIMES_ITS_DURATION", 0.0)


async def test_the_page_knows_the_tenants_and_the_calls_of_a_gateway(tmp_path):
    async with (
        open_keyed(tmp_path) as (gateway, secrets),
        httpx.AsyncClient(trust_env=False) as client,
        trio.open_nursery() as nursery,
    ):
        (url,) = gateway.urls
        for name in ("team-a", "team-b", "team-b"):
            nursery.start_soon(complete, client, url, secrets[name])
        busy = await reading_of(
            client, url, lambda reading: len(reading["troupes"][0]["reading"]["lanes"]) == 2
        )
        assert [(one["name"], one["in_flight"], one["waiting"]) for one in busy["tenants"]] == [
            ("team-b", 1, 1),
        ]
        assert lanes_of(busy) == set(secrets)
        quiet = await reading_of(client, url, lambda reading: len(reading["recent"]) == 3)
        assert quiet["tenants"] == []
        assert {call["tenant"] for call in quiet["recent"]} == {"team-a", "team-b"}
        calls = {row["name"]: row["calls"] for row in quiet["spend"]["tenants"]}
        assert calls == {"team-a": 1, "team-b": 2}
        (call, *_) = quiet["recent"]
        headers = {"authorization": f"Bearer {KEY}"}
        found = await client.get(f"{url}/api/call", params={"id": call["call"]}, headers=headers)
        assert found.json()["summary"]["state"] == "answered"
        everything = found.text + str(busy) + str(quiet)
        assert "secret plan" not in everything
        assert not any(
            secret in everything for secret in (*secrets.values(), "key-of-the-provider")
        )
        assert (await client.get(f"{url}/ui")).headers["location"] == "/ui/login"
        key = {"authorization": f"Bearer {secrets['team-a']}"}
        assert (await client.get(f"{url}/api/reading", headers=key)).status_code == 401


async def test_a_page_that_is_open_does_not_hold_up_the_end(tmp_path):
    async with httpx.AsyncClient(trust_env=False) as client, trio.open_nursery() as nursery:
        async with open_keyed(tmp_path) as (gateway, _):
            (url,) = gateway.urls
            headers = {"authorization": f"Bearer {KEY}"}
            ends = []

            @nursery.start_soon
            async def look():
                async with client.stream("GET", f"{url}/api/events", headers=headers) as stream:
                    ends.extend([line async for line in stream.aiter_lines() if "event" in line])

            await trio.sleep(0.1)
            began = trio.current_time()
        assert trio.current_time() - began < 5
    assert ends[-1] == "event: draining"


async def test_a_key_of_an_admin_opens_the_page_until_it_is_revoked(tmp_path):
    with KeyFile(tmp_path / "keys.sqlite3", create=True) as store:
        secret = store.create(KeyTerms(name="ann", is_admin=True)).secret
        async with (
            open_keyed(tmp_path, admin_key=None) as (gateway, secrets),
            httpx.AsyncClient(trust_env=False, base_url=gateway.urls[0]) as client,
        ):
            elsewhere = {"x-forwarded-for": "192.0.2.1"}
            wrong = await client.post(
                "/ui/login", data={"key": secrets["team-a"]}, headers=elsewhere
            )
            assert wrong.status_code == 401
            opened = await client.post("/ui/login", data={"key": secret}, headers=elsewhere)
            assert opened.status_code == 303
            assert (await client.get("/ui", headers=elsewhere)).status_code == 200
            assert (await client.get("/api/reading")).status_code == 200  # on this machine
            store.revoke("ann")
            with trio.fail_after(5):
                while (await client.get("/ui", headers=elsewhere)).status_code == 200:  # noqa: ASYNC110
                    await trio.sleep(0.1)
            assert (await client.get("/api/reading", headers=elsewhere)).status_code == 401
