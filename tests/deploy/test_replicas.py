"""The replicas of Docker Compose: the server that they share, their settings and the balancer."""

import os
import re
import subprocess

import yaml
from deployed import DOCKER, PORT, SETTINGS, example, program
from test_container import COMPOSE, IMAGE, STATE, mounts

from callsheet.actors import ValkeyStores
from callsheet.gateway import read_gateway

REPLICAS = yaml.safe_load((DOCKER / "replicas.yaml").read_text())
SERVICES = REPLICAS["services"]
NGINX = (DOCKER / "nginx.conf").read_text()


def test_what_the_replicas_mount_exists():
    for service in SERVICES.values():
        for source in mounts(service).values():
            assert source in REPLICAS["volumes"] or (DOCKER / source).resolve().exists(), source


def test_the_replicas_are_locked_up_as_the_one_gateway_is():
    alone, replica = COMPOSE["services"]["gateway"], SERVICES["gateway"]
    assert replica["deploy"]["replicas"] == 2
    assert "ports" not in replica  # of a machine, only one process can have it
    for name in alone.keys() - {"ports"}:
        assert replica[name] == alone[name], name
    assert mounts(replica)[STATE] == "state"


def test_the_replicas_share_limits_budgets_keys_and_responses():
    given = SERVICES["gateway"]["environment"]
    environ = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2", "CALLSHEET_ADMIN_KEY": "x"}
    settings = read_gateway(SETTINGS, environ | given)
    stores = ValkeyStores(given["CALLSHEET_SHARED_URL"])
    assert settings.keys == "shared"
    assert {troupe.shared for troupe in settings.troupes.values()} == {settings.shared} == {stores}
    assert stores.url.host in SERVICES
    assert SERVICES["gateway"]["depends_on"] == {"valkey": {"condition": "service_healthy"}}


def test_the_server_keeps_what_it_gets():
    _, *options = SERVICES["valkey"]["command"]
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert given["--appendonly"] == "yes"
    assert given["--maxmemory-policy"] == "noeviction"
    assert mounts(SERVICES["valkey"])["/data"] == "shared"
    assert "ports" not in SERVICES["valkey"]


def test_the_balancer_passes_streams_on_and_makes_no_call_twice():
    assert SERVICES["balancer"]["ports"] == [f"{PORT}:{PORT}"]
    assert mounts(SERVICES["balancer"])["/etc/nginx/nginx.conf"] == "./nginx.conf"
    assert set(re.findall(r"server (gateway:\d+) resolve;", NGINX)) == {f"gateway:{PORT}"}
    assert IMAGE["EXPOSE"] == PORT
    for directive in ("proxy_buffering off", "proxy_next_upstream off"):
        assert f"{directive};" in NGINX
    read_timeout = int(re.search(r"proxy_read_timeout (\d+)s;", NGINX)[1])
    assert read_timeout > example()["gateway"]["drain_s"]


def test_nginx_accepts_the_file(tmp_path):
    nginx = program("nginx", comes_from="Debian's package nginx")
    file = tmp_path / "nginx.conf"
    # `resolve` is known from 1.27.3 on, and without it the name is looked up at once.
    text = NGINX.replace(" resolve;", ";").replace("gateway:4000", "127.0.0.1:4000")
    file.write_text(f"pid {tmp_path}/pid;\n{text}")
    done = subprocess.run(
        [nginx, "-t", "-e", tmp_path / "log", "-c", file],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
