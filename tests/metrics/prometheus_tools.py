"""Runs `promtool`, and a Prometheus server that scrapes a program."""

import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
START_S = 60.0


def promtool(*arguments, text=None):
    """Run promtool in the folder of the rules, and return what it printed if it agrees."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)],
        cwd=PROMETHEUS,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class PrometheusServer:
    """The API of a server that runs."""

    def __init__(self, url):
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=10)

    def close(self):
        self._client.close()

    def is_ready(self):
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expression):
        """Return {labels: value} of an instant query; an error of the server fails the test."""
        answer = self._client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        return {
            tuple(sorted(each["metric"].items())): float(each["value"][1])
            for each in answer["data"]["result"]
        }

    def rules(self):
        """Return the rules as the server has evaluated them."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def wait_for(self, expression, *, at_least):
        """Block until a query has a value that is as large."""
        ends_at = time.monotonic() + START_S
        while max(self.query(expression).values(), default=0) < at_least:
            assert time.monotonic() < ends_at, f"{expression} is still below {at_least}"
            time.sleep(0.2)


@contextmanager
def running_prometheus(folder, target, port):
    """Run a server that scrapes a target twice a second, with the rules of `deploy`."""
    config = (PROMETHEUS / "prometheus.yml").read_text()
    config = config.replace("15s", "500ms").replace("127.0.0.1:9464", target)
    (folder / "prometheus.yml").write_text(config)
    shutil.copy(PROMETHEUS / "callsheet.rules.yml", folder)
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = PrometheusServer(f"http://127.0.0.1:{port}")
    try:
        ends_at = time.monotonic() + START_S
        while not server.is_ready():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < ends_at, "the server is not ready"
            time.sleep(0.1)
        yield server
    finally:
        server.close()
        process.kill()
        process.wait()
