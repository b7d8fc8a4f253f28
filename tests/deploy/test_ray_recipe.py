"""The recipe for Ray Data, in an environment of its own: one limit and one cache for all actors."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from urllib.request import urlopen

import pytest
from deployed import DEPLOY, ROOT, program
from provider_process import provider_process
from valkey_server import valkey_server

RECIPE = DEPLOY / "scale" / "ray_recipe.py"
ROWS = 300
RPM = 1200


def run(*command, **options):
    """Run a command and return what it printed, or fail with it."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python with Ray and Callsheet."""
    uv = program("uv", comes_from="the package uv")
    environment = tmp_path_factory.mktemp("ray") / "environment"
    run(uv, "venv", "--python", sys.executable, environment)
    found = environment / "bin" / "python"
    run(uv, "pip", "install", "--python", found, f"{ROOT}[valkey]")
    ray = [uv, "pip", "install", "--python", found, "--only-binary", "ray", "ray[data]"]
    done = subprocess.run(ray, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Ray does not install here: {done.stderr.strip().splitlines()[0]}")
    return found


@pytest.mark.slow
def test_the_actors_of_ray_share_one_limit_and_one_cache(python, tmp_path):
    rows = tmp_path / "prompts.jsonl"
    prompts = [f"Prompt {number % (ROWS - 50)}" for number in range(ROWS)]  # 50 of them twice
    rows.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts))
    program = shutil.copy(RECIPE, tmp_path)
    with valkey_server() as server, provider_process("--rpm", str(RPM)) as base_url:
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": "sk-simulated",
            "CALLSHEET_SHARED_URL": server.url,
            "CALLSHEET_LIMITS_RPM": str(RPM),
            "RAY_TMPDIR": "/tmp",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        arguments = (rows, tmp_path / "answers", "--actors", 3, "--batch", 32)
        run(python, program, *arguments, env=environ, cwd=tmp_path)
        stored = server.cli("ZCARD", "callsheet:cache:uses").strip()
        with urlopen(f"{base_url.removesuffix('/v1')}/callsheet/stats") as reply:
            by_status = json.load(reply)["by_status"]
    answers = [
        json.loads(line)
        for file in (tmp_path / "answers").glob("*.json*")
        for line in file.read_text().splitlines()
    ]
    assert Counter(one["prompt"] for one in answers) == Counter(prompts)
    assert {one["error"] for one in answers} == {""}
    assert all(one["answer"] for one in answers)
    assert stored == str(ROWS - 50)
    assert by_status == {"200": ROWS - 50}  # no 429, and nothing twice
