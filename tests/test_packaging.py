"""What pyproject.toml offers, how texts name it, and that CONTRIBUTING.md names what is there."""

import re
import runpy
import tomllib
import zipfile
from pathlib import Path
from typing import get_args

from callsheet.actors import ExtraName, how_to_install

REPO = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NAMED = re.compile(r"--extra[ =]([\w-]+)|\.\[([a-z,]+)\]|the extra [`']{1,2}([\w-]+)[`']")
FROM_AN_INDEX = re.compile(r"(?:pip install|uv add|uvx|pipx install) +(?:-\S+ +)*'?callsheet\b")


def texts():
    """The texts that people read: the code with its messages, the documents and the examples."""
    for pattern in ("actors", "runtime", "src", "docs", "deploy", "examples"):
        for path in (REPO / pattern).rglob("*"):
            if path.suffix in {".py", ".md", ".j2", ".toml"}:
                yield path, path.read_text()
    for path in REPO.glob("*.md"):
        if path.name != "CHANGELOG.md":  # it has the names of earlier extras
            yield path, path.read_text()


def test_all_has_each_extra_and_nothing_else():
    names = set(get_args(ExtraName))
    assert set(EXTRAS) == names | {"all"}
    assert EXTRAS["all"] == [f"callsheet[{','.join(sorted(names))}]"]


def test_each_extra_that_a_text_names_is_there():
    found = {
        name: path
        for path, text in texts()
        for groups in NAMED.findall(text)
        for name in "".join(groups).split(",")
    }
    assert set(get_args(ExtraName)) <= found.keys()
    assert {name: path for name, path in found.items() if name not in EXTRAS} == {}


def test_no_text_installs_from_an_index_what_is_not_released():
    assert FROM_AN_INDEX.search("run pip install -q 'callsheet[valkey]'")
    assert not FROM_AN_INDEX.search("pip install uv && uv run callsheet")
    assert [str(path) for path, text in texts() if FROM_AN_INDEX.search(text)] == []


def test_the_remedy_for_a_missing_extra_works_with_uv_and_with_pip():
    assert how_to_install("tables") == (
        "install the extra 'tables': in the clone, run uv sync --inexact --extra tables, "
        "or pip install '.[tables]'"
    )


def test_contributing_names_paths_that_are_there():
    text = (REPO / "CONTRIBUTING.md").read_text()
    words = re.findall(r"(?<![\w./])(?:actors|src|tests|docs|\.ci)/[\w./-]+", text)
    paths = {word.rstrip(".") for word in words if not re.search("NAME|COMMAND", word)}
    assert len(paths) > 20
    missing = sorted(path for path in paths if not (REPO / path).exists())
    assert not missing, f"CONTRIBUTING.md names paths that do not exist: {missing}"


def test_a_wheel_that_lacks_a_file_or_has_another_one_is_found(tmp_path):
    faults = runpy.run_path(str(REPO / "release" / "check_wheel.py"))["faults"]
    wheel = tmp_path / "callsheet-1.whl"
    files = [path for path in (REPO / "runtime").rglob("*") if path.is_file()]
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in files:
            if "__pycache__" not in path.parts and path.name != "py.typed":
                archive.write(path, f"callsheet/{path.relative_to(REPO)}")
        archive.writestr("callsheet/left.bak", "")
        archive.writestr("callsheet-1.dist-info/licenses/LICENSE", "")
    found = [fault for fault in faults(wheel) if "callsheet/actors" not in fault]
    assert "callsheet/runtime/py.typed is missing" in found
    assert "callsheet/left.bak is no file of the package" in found
    assert "the licence actors/data/LICENSE.genai-prices is missing" in found
    assert not any("runtime" in fault for fault in found if "py.typed" not in fault)
    assert not any(fault == "the licence LICENSE is missing" for fault in found)
