"""The public names are documented: each argument that a caller gives has a note with content.

A note of one or two words repeats the name of the argument.
"""

import ast
import enum
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
PACKAGES = (
    "callsheet",
    "callsheet.actors",
    "callsheet.aio",
    "callsheet.bulk",
    "callsheet.compare",
    "callsheet.costs",
    "callsheet.metrics",
    "callsheet.runtime",
    "callsheet.runtime.testing",
    "callsheet.simulator",
    "callsheet.sync",
)
NOT_MADE_BY_A_CALLER = {"Ref", "Runtime", "Supervisor", "Timer"}


def public_things():
    """Return the public classes and functions of the packages, each once, with their names."""
    found = {}
    for package in PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                found.setdefault(id(thing), (f"{package}.{name}", thing))
    return dict(found.values())


THINGS = public_things()


def arguments(thing):
    """Return the parameters that a caller gives."""
    if inspect.isclass(thing) and (
        getattr(thing, "_is_protocol", False)
        or thing.__init__ is object.__init__
        or issubclass(thing, enum.Enum)
        or ("__init__" not in vars(thing) and issubclass(thing, BaseException))
        or thing.__name__ in NOT_MADE_BY_A_CALLER
    ):
        return []
    try:
        found = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):  # written in C
        return []
    return [it.name for it in found if it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD)]


def methods(thing):
    """Return the public methods that a class defines, with their names."""
    if not inspect.isclass(thing) or issubclass(thing, enum.Enum):
        return {}
    return {
        name: value
        for name, value in vars(thing).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def notes(docstring):
    """Return the notes of the `Args:` and `Attributes:` sections by the name of the argument."""
    found = {}
    sections = re.findall(
        r"^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)+)", inspect.cleandoc(docstring), re.MULTILINE
    )
    for line in "\n".join(sections).splitlines():
        start = re.match(r"    \*{0,2}(\w+): (.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif line.strip() and found:
            found[name] += " " + line.strip()
    return found


@pytest.mark.parametrize("name", THINGS)
def test_each_argument_of_a_public_name_has_a_note(name):
    thing = THINGS[name]
    documented = notes(thing.__doc__ or "")
    assert [it for it in arguments(thing) if it not in documented] == []


@pytest.mark.parametrize("name", THINGS)
def test_no_note_of_a_public_name_is_empty(name):
    thing = THINGS[name]
    everything = {"": thing, **methods(thing)}
    empty = {
        (method, argument): note
        for method, it in everything.items()
        for argument, note in notes(it.__doc__ or "").items()
        if len(note.split()) < 3
    }
    assert empty == {}


@pytest.mark.parametrize("name", THINGS)
def test_a_public_name_has_a_docstring(name):
    thing = THINGS[name]
    assert thing.__doc__ is not None
    assert not [it for it, method in methods(thing).items() if not inspect.getdoc(method)]


# ------------------------------------------------------------------------------- every module

FOLDERS = ("actors", "runtime", "src/callsheet")
MODULES = sorted(
    path.relative_to(REPO).as_posix()
    for folder in FOLDERS
    for path in (REPO / folder).rglob("*.py")
)


def definitions(path):
    """Return the classes and functions of a module, with their docstrings."""
    tree = ast.parse((REPO / path).read_text())
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [(it, ast.get_docstring(it) or "") for it in ast.walk(tree) if isinstance(it, kinds)]


@pytest.mark.parametrize("path", MODULES)
def test_no_note_of_a_module_is_empty(path):
    """A unit or a number is content: "time in seconds", "1 or more"."""
    empty = [
        f"{path}:{it.lineno} {it.name}: {argument}: {note}"
        for it, docstring in definitions(path)
        for argument, note in notes(docstring).items()
        if len(note.split()) < 3 and not re.search(r"\d|seconds|bytes", note)
    ]
    assert empty == []
