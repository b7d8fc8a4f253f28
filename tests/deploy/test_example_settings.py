"""The settings file of deploy/ is accepted, and the variables of the example are what it needs."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner
from deployed import ENVIRONMENT, PORT, ROOT, SETTINGS, example
from test_container import copied

from callsheet.cli import main

VARIABLES = [
    line.rstrip("=\n") for line in ENVIRONMENT.read_text().splitlines() if line.endswith("=")
]


def written(folder):
    """Write the example with its state in a folder, at a port that is free."""
    text = SETTINGS.read_text().replace("/var/lib/callsheet", str(folder))
    file = folder / SETTINGS.name
    file.write_text(text.replace(f"0.0.0.0:{PORT}", "0.0.0.0:0"))
    return file


def environment(without=""):
    """An environment in which all variables of the example but one are set."""
    names = {*VARIABLES} - {without}
    return {**os.environ, **{name: f"key-of-{name}" for name in names}}


def test_the_example_is_accepted(tmp_path):
    file, runner = written(tmp_path), CliRunner(env=environment())
    created = runner.invoke(main, ["keys", "create", "team", "--config", str(file)])
    assert created.exit_code == 0, created.output
    checked = runner.invoke(main, ["serve", "--check", str(file)])
    assert checked.exit_code == 0, checked.output


def check(folder, *program, without=""):
    """Run the commands as processes; return the status and the output of the check."""
    file, environ = written(folder), environment(without)
    create = [*program, "keys", "create", "team", "--config", file]
    subprocess.run(create, env=environ, check=True, capture_output=True)
    done = subprocess.run(
        [*program, "serve", "--check", file],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.slow  # a process for each
@pytest.mark.parametrize("variable", VARIABLES)
def test_the_example_needs_each_variable_of_its_environment(variable, tmp_path):
    status, output = check(tmp_path, sys.executable, "-m", "callsheet", without=variable)
    assert status == 2, output
    assert variable in output


def test_each_endpoint_of_the_example_is_used():
    settings = example()
    used = {use if isinstance(use, str) else use["endpoint"] for use in settings["models"].values()}
    assert used == {*settings["endpoints"]}


@pytest.mark.slow  # asks the package index, and builds an environment
def test_the_context_of_the_image_is_enough_to_build_it(tmp_path):
    """As the Dockerfile does, but with uv in place of pip, and without a container."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    context, home = tmp_path / "context", tmp_path / "environment"
    for path in copied():
        source, target = ROOT / path, context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy(source, target)
    python = home / "bin" / "python"
    for command in (
        (uv, "venv", "--quiet", "--python", sys.executable, home),
        (uv, "pip", "install", "--quiet", "--python", python, ".[metrics,valkey]"),
    ):
        subprocess.run(command, check=True, cwd=context, env={**os.environ, "PYTHONPATH": ""})
    shutil.rmtree(context)  # the environment alone goes into the image
    status, output = check(tmp_path, python, "-I", "-m", "callsheet")
    assert status == 0, output
