"""LangChain, instructor and the npm clients through the gateway, each in an environment of its own.

An environment gets the packages of a dependency group (or of cases/package.json) from the package
index. The program in it knows nothing of Callsheet: the variables of the clients name the gateway.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CASES = Path(__file__).parent / "cases"

pytestmark = [pytest.mark.sockets, pytest.mark.slow]  # asks the package indexes


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


def needed(program):
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@pytest.mark.parametrize(("library", "cases"), [("langchain", 16), ("instructor", 6)])
def test_a_library_of_python(library, cases, gateway, tmp_path):
    uv, environment = needed("uv"), tmp_path / "environment"
    python = environment / "bin" / "python"
    run(uv, "venv", "--python", sys.executable, environment)
    group = f"{ROOT / 'pyproject.toml'}:{library}"
    run(uv, "pip", "install", "--python", python, "--group", group)
    file = shutil.copy(CASES / f"{library}_cases.py", tmp_path)
    printed = run(python, "-m", "pytest", "-q", file, cwd=tmp_path, env=gateway.environ)
    assert f"{cases} passed" in printed, printed


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory):
    """A folder with the packages and the cases."""
    folder = tmp_path_factory.mktemp("npm")
    for file in (CASES / "package.json", *CASES.glob("*.mjs")):
        shutil.copy(file, folder)
    needed("node")
    npm = needed("npm")
    run(npm, "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)
    return folder


@pytest.mark.parametrize("file", ["sdks.test.mjs", "vercel.test.mjs"])
def test_a_library_of_node(file, gateway, node_modules):
    node = needed("node")
    cases = len(re.findall(r"^ *test\(", (CASES / file).read_text(), re.MULTILINE))
    environ = gateway.environ | {"AI_SDK_LOG_WARNINGS": "false"}
    printed = run(node, "--test", "--test-reporter=tap", file, cwd=node_modules, env=environ)
    passed = int(re.search(r"^# pass (\d+)$", printed, re.MULTILINE)[1])
    assert passed >= cases > 5, printed


def test_the_cases_know_nothing_of_callsheet():
    for file in CASES.iterdir():
        assert "callsheet" not in file.read_text().lower(), file
    assert os.pardir not in "".join(file.name for file in CASES.iterdir())
