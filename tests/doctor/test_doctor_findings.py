"""What `callsheet doctor` finds out: the installation, keys, the disk, the provider, the server."""

import ssl
from email.utils import formatdate
from importlib import metadata
from types import SimpleNamespace

import httpx
import pytest
import trio
from valkey_server import valkey_server

from callsheet.actors import Endpoint, ServerUrl
from callsheet.doctor import (
    Finding,
    WrittenPlace,
    examine_environment,
    examine_installation,
    examine_places,
    examine_provider,
    examine_server,
    machine,
    provider,
)

NOW = 1_800_000_000.0
KEY = "sk-proj-0123456789abcdefghij"


def by_name(found):
    return {one.name: one for one in found}


# ------------------------------------------------------------------------------ the installation


def install(monkeypatch, required, versions, extras=()):
    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    said = SimpleNamespace(get_all=lambda _: list(extras))
    found = SimpleNamespace(
        PackageNotFoundError=metadata.PackageNotFoundError,
        version=version,
        requires=lambda _: required,
        metadata=lambda _: said,
    )
    monkeypatch.setattr(machine, "metadata", found)


def test_packages_and_extras_have_their_versions_or_the_way_to_install_them(monkeypatch):
    required = [
        "trio>=0.30",
        "httpx>=0.28",
        'matplotlib>=3.9; extra == "plot"',
        "coredis<7,>=6.9; extra == 'valkey'",
        "backports-zstd>=1; (python_version < '3.1') and extra == 'zstd'",
        "callsheet[plot,valkey]; extra == 'all'",
    ]
    versions = {"callsheet": "0.1.0", "trio": "0.35.0", "httpx": "0.28.1", "matplotlib": "3.10"}
    install(monkeypatch, required, versions, ["all", "plot", "valkey", "zstd"])
    found = by_name(examine_installation())
    assert found["callsheet"].text.startswith("0.1.0; Python 3.")
    assert found["packages"].text == "trio 0.35.0, httpx 0.28.1"
    assert found["plot"] == Finding("Installation", "plot", "ok", "matplotlib 3.10")
    missing = "not installed: coredis"
    wanted = Finding(
        "Installation", "valkey", "absent", missing, "uv sync --inexact --extra valkey"
    )
    assert found["valkey"] == wanted
    assert not {"all", "zstd"} & found.keys()


def test_a_package_that_is_missing_is_a_problem(monkeypatch):
    install(monkeypatch, ["trio>=0.30", "httpx>=0.28"], {"callsheet": "0.1.0", "trio": "0.35.0"})
    found = by_name(examine_installation())["packages"]
    assert (found.state, found.text, found.remedy) == ("problem", "missing: httpx", "uv sync")


def test_a_program_without_metadata_is_not_installed(monkeypatch):
    install(monkeypatch, [], {})
    (found,) = examine_installation()
    assert (found.state, found.remedy) == ("problem", "in the clone: uv sync")


# ------------------------------------------------------------------------------------------ keys


def test_keys_are_named_and_never_shown():
    environ = {"OPENAI_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": f"{KEY}2", "OTHER": "x"}
    found = list(examine_environment(environ))
    assert {one.name: one.state for one in found} == {
        "OPENAI_API_KEY": "ok",
        "ANTHROPIC_AUTH_TOKEN": "ok",
    }
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("value", "state", "words"),
    [
        ("", "absent", "is empty"),
        (f'"{KEY}"', "problem", "quotation marks"),
        (f"{KEY}\u00a0", "ok", "is set"),  # str.strip removes it
        (f"{KEY[:9]}\u2026", "problem", "characters that no key has"),
        (f"Bearer {KEY}", "problem", "characters that no key has"),
    ],
)
def test_a_key_that_cannot_be_right_is_a_problem(value, state, words):
    (found,) = examine_environment({"OPENAI_API_KEY": value})
    assert found.state == state
    assert words in found.text
    assert KEY not in repr(found)


def test_without_a_key_it_says_what_can_be_used():
    (found,) = examine_environment({})
    assert (found.name, found.state) == ("keys", "absent")


def test_addresses_are_shown_once_and_without_passwords():
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://me:secret@localhost:1/v1"}
    _, found = examine_environment(environ)
    assert (found.name, found.text) == ("OPENAI_BASE_URL", "http://***@localhost:1/v1")


# ------------------------------------------------------------------------------------------ disk


def test_places_that_can_be_written_show_the_room_that_is_there(tmp_path, monkeypatch):
    room = SimpleNamespace(free=5_000_000_000)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: room)
    new = WrittenPlace("ledger", tmp_path / "a" / "ledger.sqlite3")
    here, there = examine_places([WrittenPlace("this folder", tmp_path), new])
    assert (here.state, here.text) == ("ok", f"{tmp_path}, 5 GB free")
    assert (there.state, there.text) == ("ok", f"{new.path} (not there yet), 5 GB free")
    room.free = 400_000_000
    (found,) = examine_places([new])
    assert (found.state, found.text) == ("note", f"{new.path} (not there yet), 400 MB free")
    room.free = 4_000_000
    (found,) = examine_places([new])
    assert (found.state, found.remedy) == ("problem", "make room on this disk")
    assert not new.path.parent.exists()


def test_places_that_cannot_be_written_are_problems_with_a_remedy(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    (found,) = examine_places([WrittenPlace("cache", file / "x", "[cache] path")])
    assert (found.state, found.remedy) == ("problem", "give another place: [cache] path")
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    (found,) = examine_places([WrittenPlace("journals", tmp_path / "new")])
    assert found.text == f"{tmp_path / 'new'}: {tmp_path} cannot be written"
    assert found.remedy == "change its permissions, or its owner"


# -------------------------------------------------------------------------------------- provider


@pytest.fixture
def ask(monkeypatch):
    """Return a function that examines an endpoint whose server is a function."""

    async def asked(answer, endpoint=None, *, environ=None, sends=True):
        async def handle(request):
            return await answer(request)

        def transport(endpoint, connections):
            return httpx.MockTransport(handle)

        monkeypatch.setattr(provider, "transport_for", transport)
        return by_name(
            await examine_provider(
                endpoint or Endpoint.of("openai", KEY),
                environ or {},
                sends=sends,
                timeout_s=10,
                clock=lambda: NOW + trio.current_time(),
            )
        )

    return asked


def status(code, late_s=0.0):
    async def answer(request):
        await trio.sleep(0.25)
        there = NOW + trio.current_time() + late_s
        return httpx.Response(code, headers={"date": formatdate(there, usegmt=True)})

    return answer


async def test_the_request_is_for_the_list_of_models_and_has_the_key(ask, autojump_clock):
    seen = []

    async def answer(request):
        seen.append(request)
        return await status(200)(request)

    found = await ask(answer)
    (request,) = seen
    assert (request.method, str(request.url)) == ("GET", "https://api.openai.com/v1/models")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    text = "api.openai.com lists its models (250 ms), and accepts the key"
    assert found["reachable"] == Finding("Provider", "reachable", "ok", text)
    assert found["clock"].state == "ok"
    assert found["certificates"].text == "the authorities of the package certifi"
    assert found["proxy"].state == "absent"


@pytest.mark.parametrize(
    ("code", "state", "remedy"),
    [
        (302, "problem", "check the URL https://api.openai.com/v1"),
        (401, "problem", "check OPENAI_API_KEY"),
        (403, "problem", "check OPENAI_API_KEY"),
        (404, "note", "check that the URL has its version"),
        (429, "note", "its limit is used up at present"),
        (503, "problem", "see the status page of the provider"),
    ],
)
async def test_a_status_is_read_as_what_it_says(ask, autojump_clock, code, state, remedy):
    endpoint = Endpoint("https://api.openai.com/v1", KEY, key_variable="OPENAI_API_KEY")
    found = (await ask(status(code), endpoint))["reachable"]
    assert found.state == state
    assert str(code) in found.text or code == 429
    assert found.remedy.startswith(remedy)


async def test_a_server_that_wants_a_key_names_the_variable_of_its_vendor(ask, autojump_clock):
    found = await ask(status(401), Endpoint("https://api.groq.com/openai/v1"))
    assert found["reachable"].remedy == "set GROQ_API_KEY"
    found = await ask(status(401), Endpoint("https://vllm.example/v1"))
    assert "wants a key" in found["reachable"].text


@pytest.mark.parametrize(
    ("late_s", "state", "words"),
    [
        (3.0, "ok", "agrees"),
        (-20.0, "note", "ahead of"),
        (20.0, "note", "behind"),
        (7200.0, "problem", "2 h 00 min behind"),
    ],
)
async def test_the_clock_is_compared_with_the_date_of_the_response(
    ask, autojump_clock, late_s, state, words
):
    found = (await ask(status(200, late_s)))["clock"]
    assert found.state == state
    assert words in found.text
    assert bool(found.remedy) is (state != "ok")


async def test_a_response_without_a_date_is_no_problem(ask, autojump_clock):
    async def answer(request):
        return httpx.Response(200)

    assert (await ask(answer))["clock"].state == "absent"


async def test_a_server_that_is_silent_is_given_up_after_the_timeout(ask, autojump_clock):
    async def answer(request):
        await trio.sleep_forever()

    began = trio.current_time()
    found = (await ask(answer))["reachable"]
    assert trio.current_time() - began == 10
    assert (found.state, found.text) == ("problem", "api.openai.com: no response within 10 s")


async def test_an_error_of_the_connection_hides_the_key_and_names_the_remedy(ask, autojump_clock):
    async def refuse(request):
        raise httpx.ConnectError(f"cannot connect with {KEY}")

    found = (await ask(refuse))["reachable"]
    assert found.state == "problem"
    assert KEY not in repr(found)
    assert "whether a proxy is needed (HTTPS_PROXY)" in found.remedy

    async def distrust(request):
        raise httpx.ConnectError("TLS failed") from ssl.SSLCertVerificationError("self-signed")

    found = (await ask(distrust))["reachable"]
    assert found.text.startswith("api.openai.com: its certificate is not trusted")
    assert "SSL_CERT_FILE" in found.remedy


async def test_proxies_and_authorities_are_shown_without_passwords(ask, autojump_clock, tmp_path):
    environ = {"HTTPS_PROXY": "http://me:secret@proxy.example:3128"}
    found = await ask(status(200), environ=environ)
    assert found["proxy"].text == "http://***@proxy.example:3128, by HTTPS_PROXY"
    environ["NO_PROXY"] = "openai.com"
    found = await ask(status(200), environ=environ)
    assert found["proxy"].text == "not used on this way, although HTTPS_PROXY, NO_PROXY is set"
    found = await ask(status(200), environ={"SSL_CERT_FILE": str(tmp_path / "none.pem")})
    assert (found["connection"].state, "reachable" in found) == ("problem", False)
    assert found["connection"].remedy == "correct or unset SSL_CERT_FILE"


async def test_offline_nothing_is_sent(ask, autojump_clock):
    async def answer(request):
        raise AssertionError("it was sent")

    found = await ask(answer, sends=False)
    assert (found["reachable"].state, found["reachable"].text) == (
        "absent",
        "not asked (--offline)",
    )


async def test_each_member_of_a_pool_is_asked(ask, autojump_clock):
    seen = []

    async def answer(request):
        seen.append(request.headers["authorization"])
        return await status(200)(request)

    pool = Endpoint.pool([Endpoint.of("openai", f"{KEY}{number}") for number in (1, 2)])
    await ask(answer, pool)
    assert seen == [f"Bearer {KEY}1", f"Bearer {KEY}2"]


# ---------------------------------------------------------------------------------------- server


@pytest.mark.sockets
async def test_a_server_is_asked_for_its_version_its_memory_and_its_disk():
    with valkey_server() as server:
        found = by_name(await examine_server(ServerUrl.parse(server.url), sends=True))
        assert "answers (" in found["shared"].text
        assert found["memory"].text == "no limit of its own, maxmemory-policy noeviction"
        assert (found["disk"].state, found["disk"].remedy) == ("note", "set appendonly yes")
        server.cli("CONFIG", "SET", "appendonly", "yes")
        server.cli("CONFIG", "SET", "maxmemory", "100mb")
        server.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        found = by_name(await examine_server(ServerUrl.parse(server.url), sends=True))
        assert found["memory"].state == "problem"
        assert found["memory"].remedy == "set maxmemory-policy noeviction"


async def test_a_server_that_is_away_is_a_problem(tmp_path):
    url = ServerUrl.parse(f"unix://{tmp_path}/none")
    found = by_name(await examine_server(url, sends=True))
    assert found["shared"].state == "problem"
    assert found["shared"].remedy.startswith("start the server")
    assert (await examine_server(url, sends=False))[0].text.endswith("not asked (--offline)")


async def test_no_server_is_needed():
    (shared, _) = await examine_server(None, sends=True)
    assert shared.state == "absent"
