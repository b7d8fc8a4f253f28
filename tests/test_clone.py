"""A clone of the repository works, with symbolic links or without.

The clones have what is committed. Where there is no Git, or this is no repository, nothing is
cloned and the tests are skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from provider_process import provider_process

ROOT = Path(__file__).parent.parent
LINKS = ("actors", "runtime")
COMPOSE = ("compose", "Tea", "--json", "--provider", "builtin")
IMPORTS = """
import callsheet.runtime, callsheet.actors, callsheet.cli, callsheet.simulator
for package in (callsheet.actors, callsheet.runtime):
    print(package.__name__, package.__file__)
"""
RUN = 'runpy.run_module("callsheet", run_name="__main__")'

WITH, WITHOUT = "with symlinks", "without symlinks"


# The tests themselves run in a clone with links.
@pytest.fixture(scope="module", params=[WITH, WITHOUT])
def clone(request, tmp_path_factory):
    """The folder of a clone of this repository."""
    has_links = request.param == WITH
    git = shutil.which("git")
    if git is None:
        pytest.skip("Git is not installed")
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a Git repository")
    folder = tmp_path_factory.mktemp("clone") / "callsheet"
    links = f"core.symlinks={str(has_links).lower()}"
    command = [git, "-c", links, "clone", "--quiet", "--no-tags", str(ROOT), str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in LINKS:
        link = folder / "src" / "callsheet" / name
        assert link.is_dir() == has_links
        if not has_links:
            assert link.read_text() == f"../../{name}"
    return folder


def outside(clone: Path) -> Path:
    """A working directory from which nothing of the clone can be imported by chance."""
    return clone.parent


def run(*command, cwd, **environ):
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=cwd,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_imported_from(clone, printed):
    files = dict(line.split(" ", 1) for line in printed.splitlines())
    assert set(files) == {"callsheet.actors", "callsheet.runtime"}
    for name, file in files.items():
        folder = clone / name.removeprefix("callsheet.")
        assert Path(file).parent.samefile(folder)


@pytest.mark.parametrize("clone", [pytest.param(WITH, marks=pytest.mark.slow)], indirect=True)
def test_every_package_is_imported_from_the_clone(clone):
    source = str(clone / "src")
    printed = run(sys.executable, "-c", IMPORTS, cwd=outside(clone), PYTHONPATH=source)
    check_imported_from(clone, printed)


@pytest.mark.sockets
@pytest.mark.parametrize("clone", [WITHOUT], indirect=True)
def test_a_post_is_composed_from_the_source_tree(clone):
    with provider_process("--time-scale", "0.02") as base_url:
        arguments = ["callsheet", "compose", "Tea", "--json", "--base-url", base_url]
        program = f"{IMPORTS}\nimport runpy, sys\nsys.argv = {arguments}\n{RUN}"
        source = str(clone / "src")
        printed = run(sys.executable, "-c", program, cwd=outside(clone), PYTHONPATH=source)
    first, second, post = printed.splitlines()
    check_imported_from(clone, f"{first}\n{second}")
    assert json.loads(post)["topic"] == "Tea"


@pytest.mark.slow  # asks the package index, and builds environments
@pytest.mark.sockets
def test_the_first_command_of_the_readme_installs_no_test_tools_and_composes(clone):
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    environment = (
        clone.parent / "environment"
    )  # not in the clone, where a link could lead elsewhere
    ours = {"UV_PROJECT_ENVIRONMENT": str(environment), "UV_PYTHON": sys.executable}
    printed = run(uv, "run", "--no-dev", "callsheet", *COMPOSE, cwd=clone, PYTHONPATH="", **ours)
    assert json.loads(printed)["topic"] == "Tea"
    (site,) = environment.glob("lib/python*/site-packages")
    installed = {path.name.partition("-")[0] for path in site.glob("*.dist-info")}
    assert "callsheet" in installed
    assert not installed & {"pytest", "mypy", "pyright", "ruff", "matplotlib", "pyarrow", "numpy"}
    wheels = clone / "wheels"
    run(uv, "build", "--quiet", "--wheel", "--out-dir", wheels, cwd=clone, PYTHONPATH="", **ours)
    (wheel,) = wheels.glob("*.whl")
    names = {name.split("/")[1] for name in names_in(wheel) if name.startswith("callsheet/")}
    assert {"actors", "runtime", "py.typed"} <= names


def names_in(wheel: Path) -> list[str]:
    from zipfile import ZipFile

    with ZipFile(wheel) as archive:
        return archive.namelist()
