"""Replicas of a gateway: they share the provider's limit, budgets, keys and the limits of keys."""

import json
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial

import attrs
import httpx
import pytest
import structlog
import trio
from callsheet_process import CallsheetProcess
from gateway_kit import CHAT, Answer, chat, open_kit
from valkey_server import valkey_server

from callsheet.actors import LedgerPolicy, Limits, MemoryStores
from callsheet.gateway.keys import KeyTerms
from callsheet.gateway.keys.shared import LASTING_S, SharedKeyStore
from callsheet.simulator import ProviderSettings

QUICK = ProviderSettings(latency_s=(0.5, 0.5))


@asynccontextmanager
async def replicas(stores, count=2, *, limits=None, **troupe):
    """Open gateways that share stores, and yield them with the store of their keys."""
    keys = SharedKeyStore(stores, create=True)
    async with keys.open():
        if not keys.known.valid():
            await keys.create(KeyTerms(name="usual"))
        kits = []
        settings = {"shared": stores, "limits": limits or Limits(), **troupe}
        async with opened(kits, count, settings, stores):
            yield kits, keys


@asynccontextmanager
async def opened(kits, count, settings, stores):
    if not count:
        yield
        return
    async with open_kit(QUICK, troupe=settings, keys="shared", shared=stores) as kit:
        kits.append(kit)
        async with opened(kits, count - 1, settings, stores):
            yield


def bearer(issued):
    return {"authorization": f"Bearer {issued.secret}"}


async def ask_all(kits, headers, count, *, within_s=float("inf"), **more):
    """Send calls to the replicas in turn; return the answers, each with the time when it came."""
    answers, started = [], trio.current_time()

    async def one(kit, number):
        answer = await kit.client.ask(CHAT, chat(f"Say {number}.", **more), headers=headers)
        answers.append((trio.current_time() - started, answer))

    with trio.move_on_after(within_s):
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(one, kits[number % len(kits)], number)
    return answers


async def test_replicas_share_the_limit_of_the_provider(autojump_clock):
    stores = MemoryStores()
    limits = Limits(rpm=120, burst_s=1.0)
    async with replicas(stores, 3, limits=limits) as (kits, keys):
        issued = await keys.create(KeyTerms(name="team-a"))
        for kit in kits:
            kit.gateway.service.rules = attrs.evolve(kit.gateway.service.rules, patience_s=600.0)
        await trio.sleep(1.5)
        answers = await ask_all(kits, bearer(issued), 60)
    assert {answer.status for _, answer in answers} == {200}
    assert 60 / 2 - 3 < max(at for at, _ in answers) < 60 / 2 + 3
    served = [kit.stats.requests for kit in kits]
    assert served == [20, 20, 20]


async def test_replicas_share_the_own_limit_of_a_key(autojump_clock):
    async with replicas(MemoryStores()) as (kits, keys):
        issued = await keys.create(KeyTerms(name="team-a", rpm=6))
        await trio.sleep(1.5)
        answers = await ask_all(kits, bearer(issued), 20)
    statuses = [answer.status for _, answer in answers]
    assert 6 <= statuses.count(200) <= 6 + 5 + 1  # 6 at once, and one each 10 s for 50 s
    assert statuses.count(429) == 20 - statuses.count(200)


async def test_replicas_share_the_budget_of_a_key(autojump_clock):
    async with replicas(MemoryStores(), ledger=LedgerPolicy()) as (kits, keys):
        issued = await keys.create(KeyTerms(name="team-a", budgets=("0.0004",)))
        await trio.sleep(1.5)
        answers = [
            await kits[number % 2].client.ask(
                CHAT, chat(f"Say {number}.", max_tokens=200), headers=bearer(issued)
            )
            for number in range(40)
        ]
        spent = sum(float(one.headers.get("x-callsheet-cost-usd", 0)) for one in answers)
        refused = [answer for answer in answers if answer.status != 200]
    assert 0.0002 < spent <= 0.0004
    assert {answer.json["error"]["code"] for answer in refused} == {"budget_exceeded"}
    served = [kit.stats.requests for kit in kits]
    assert min(served) > 2


async def test_a_key_that_is_revoked_ends_on_all_replicas(autojump_clock):
    async with replicas(MemoryStores()) as (kits, keys):
        issued = await keys.create(KeyTerms(name="team-a"))
        headers, answers = bearer(issued), [Answer() for _ in kits]
        await trio.sleep(0.1)  # until they have heard of it
        assert [one.status for _, one in await ask_all(kits, headers, 2)] == [200, 200]
        async with trio.open_nursery() as nursery:
            for kit, answer in zip(kits, answers, strict=True):
                ask = partial(kit.client.ask, CHAT, chat(), headers=headers, answer=answer)
                nursery.start_soon(ask)
            await trio.sleep(0.1)
            revoked_at = trio.current_time()
            await keys.revoke("team-a")
        assert trio.current_time() - revoked_at < 0.3  # the calls would have taken 0.4 s longer
        assert [answer.status for answer in answers] == [401, 401]
        assert [one.status for _, one in await ask_all(kits, headers, 2)] == [401, 401]


async def test_without_the_server_known_keys_are_valid_for_a_while(autojump_clock):
    stores = MemoryStores()
    with structlog.testing.capture_logs() as logs:
        async with replicas(stores) as (kits, keys):
            issued = await keys.create(KeyTerms(name="team-a"))
            await trio.sleep(1.5)
            stores.records("keys").is_away = True
            await trio.sleep(LASTING_S - 5.0)
            assert [one.status for _, one in await ask_all(kits, bearer(issued), 2)] == [200, 200]
            await trio.sleep(10.0)
            ((_, answer), _) = await ask_all(kits, bearer(issued), 2)
            assert (answer.status, answer.json["error"]["code"]) == (503, "keys_unavailable")
            assert "retry-after" in answer.headers
            stores.records("keys").is_away = False
            await trio.sleep(1.5)
            assert [one.status for _, one in await ask_all(kits, bearer(issued), 2)] == [200, 200]
            stores.records("keys").clear()  # it has lost them: the known ones stay, as above
            await trio.sleep(5.0)
            assert [one.status for _, one in await ask_all(kits, bearer(issued), 2)] == [200, 200]
    events = [one["event"] for one in logs if one["event"].startswith("key")]
    once = ["key_store_unreadable", "keys_too_old", "key_store_back", "key_store_unreadable"]
    assert sorted(events) == sorted(2 * once)


async def test_a_replica_that_starts_without_the_server_reads_the_keys_when_it_is_back(
    autojump_clock,
):
    stores = MemoryStores()
    async with replicas(stores, 0) as (_, keys):
        issued = await keys.create(KeyTerms(name="team-a"))
        stores.records("keys").is_away = True
        async with open_kit(QUICK, troupe={"shared": stores}, keys="shared", shared=stores) as kit:
            ((_, answer),) = await ask_all([kit], bearer(issued), 1)
            assert (answer.status, answer.json["error"]["code"]) == (503, "keys_unavailable")
            await trio.sleep(30.0)
            stores.records("keys").is_away = False
            await trio.sleep(1.5)
            assert [one.status for _, one in await ask_all([kit], bearer(issued), 1)] == [200]


# ------------------------------------------------------------------------------ processes


CONFIG = """
[gateway]
listen = "127.0.0.1:0"
[shared]
url = "{server}"
[keys]
store = "shared"
[endpoints.main]
base_url = "{provider}/v1"
provider = "openai"
api_key_env = "PROVIDER_KEY"
limits = {{ rpm = 300, burst_s = 1 }}
[ledger]
path = "{name}.sqlite3"
"""
PIPES = {"text": True, "stdout": -1, "stderr": -1}


def run(folder, *arguments):
    """Run a command; return what it prints."""
    with CallsheetProcess(*arguments, cwd=folder, **PIPES) as process:
        return process.communicate()[0]


@contextmanager
def served(folder, *arguments):
    """Serve; yield the URL."""
    with CallsheetProcess("serve", *arguments, cwd=folder, **PIPES) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The server that two gateways share by their settings; a provider for them runs as well."""
    monkeypatch.setenv("PROVIDER_KEY", "sk-provider-0123456789")
    builtin = ("--provider", "builtin", "--listen", "127.0.0.1:0")
    with valkey_server(appendonly="yes") as server, served(tmp_path, *builtin) as provider:
        for name in ("one", "two"):
            text = CONFIG.format(server=server.url, provider=provider, name=name)
            (tmp_path / f"{name}.toml").write_text(text)
        yield server


def client_of_team_a(folder, *terms):
    """Create a key; return a client that sends it."""
    secret = run(folder, "keys", "create", "team-a", *terms, "--config", "one.toml").strip()
    return httpx.Client(headers={"authorization": f"Bearer {secret}"}, timeout=60)


@pytest.mark.slow
@pytest.mark.sockets
def test_two_processes_are_one_gateway(tmp_path, server):
    """A client takes one after the other, as a balancer does; the server is a real one."""
    with ExitStack() as stack:
        client = stack.enter_context(client_of_team_a(tmp_path, "--budget", "0.5"))
        urls = [stack.enter_context(served(tmp_path, f"{name}.toml")) for name in ("one", "two")]
        started, statuses = time.monotonic(), []
        for number in range(40):
            body = chat(f"Say {number}.", max_tokens=20)
            statuses.append(client.post(f"{urls[number % 2]}{CHAT}", json=body).status_code)
        took_s = time.monotonic() - started
        assert statuses == [200] * 40
        assert took_s > (40 - 6) / 5 - 1.0  # 5 a second, for both together
        reading = json.loads(run(tmp_path, "top", server.url, "--json"))
        assert len({worker["pid"] for worker in reading["workers"]}) == 2
        assert "Revoked" in run(tmp_path, "keys", "revoke", "team-a", "--config", "one.toml")
        time.sleep(1.5)
        assert [client.post(f"{url}{CHAT}", json=chat()).status_code for url in urls] == [401, 401]


@pytest.mark.slow
@pytest.mark.sockets
def test_a_process_serves_when_the_server_that_was_away_is_there(tmp_path, server):
    with client_of_team_a(tmp_path) as client:
        server.kill()
        with served(tmp_path, "one.toml") as url:
            assert client.post(f"{url}{CHAT}", json=chat()).status_code == 503
            server.start()
            until = time.monotonic() + 10
            while (status := client.post(f"{url}{CHAT}", json=chat()).status_code) == 503:
                assert time.monotonic() < until
                time.sleep(0.2)
            assert status == 200
