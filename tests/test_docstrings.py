"""The public names are documented: each argument that a caller gives has a note with content.

A note of one or two words repeats the name of the argument.
"""

import ast
import enum
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.append(str(REPO / "benchmarks"))

from bench_kit.import_graph import statements  # noqa: E402

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
    "callsheet.serving",
    "callsheet.simulator",
    "callsheet.sync",
)
EMPTY = "say more in these notes than the name does, such as a unit or a default"
NOT_MADE_BY_A_CALLER = {"Ref", "Runtime", "Supervisor", "Timer"}


@pytest.fixture(params=PACKAGES)
def things(request):
    """The public classes and functions of a package, with their names."""
    module = import_module(request.param)
    named = {name: getattr(module, name) for name in module.__all__}
    return {name: it for name, it in named.items() if inspect.isclass(it) or inspect.isroutine(it)}


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


def check(wrong, remedy):
    """Fail with the remedy and all that is wrong, one in a line."""
    assert not wrong, "\n".join([f"{remedy}:", *wrong])


def test_each_argument_of_a_public_name_has_a_note(things):
    missing = [
        f"{name}: {argument}"
        for name, thing in things.items()
        for argument in arguments(thing)
        if argument not in notes(thing.__doc__ or "")
    ]
    check(missing, "say under `Args:` of the docstring of the class or function what these are")


def test_no_note_of_a_public_name_is_empty(things):
    empty = [
        f"{name}.{method}: {argument}: {note}"
        for name, thing in things.items()
        for method, it in {"": thing, **methods(thing)}.items()
        for argument, note in notes(it.__doc__ or "").items()
        if len(note.split()) < 3
    ]
    check(empty, EMPTY)


def test_a_public_name_has_a_docstring(things):
    missing = [name for name, thing in things.items() if thing.__doc__ is None]
    missing += [
        f"{name}.{method}"
        for name, thing in things.items()
        for method, it in methods(thing).items()
        if not inspect.getdoc(it)
    ]
    check(missing, "write a docstring that says what these are or do")


# ------------------------------------------------------------------------------- every module

FOLDERS = ("actors", "runtime", "src/callsheet")
SECTION = re.compile(
    r"^(?P<indent> *)(?:Args|Attributes):\n(?:(?P=indent) +.*\n|\n)+", re.MULTILINE
)


def definitions(path):
    """Return the classes and functions of a module, with their docstrings."""
    tree = ast.parse(path.read_text())
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [(it, ast.get_docstring(it) or "") for it in statements(tree) if isinstance(it, kinds)]


def notes_in(text):
    """Return the notes of a module with those of other indented texts, without parsing it."""
    found = []
    for section in SECTION.finditer(text):
        lines = re.sub(rf"^{section['indent']}", "", section[0], flags=re.MULTILINE)
        found += notes(f"A docstring.\n\n{lines}").values()
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_note_of_a_module_is_empty(folder):
    """A unit or a number is content: "time in seconds", "1 or more"."""
    paths = sorted((REPO / folder).rglob("*.py"))
    assert paths
    empty = [
        f"{path.relative_to(REPO)}:{it.lineno} {it.name}: {argument}: {note}"
        for path in paths
        if any(len(note.split()) < 3 for note in notes_in(path.read_text()))  # to parse takes long
        for it, docstring in definitions(path)
        for argument, note in notes(docstring).items()
        if len(note.split()) < 3 and not re.search(r"\d|seconds|bytes", note)
    ]
    check(empty, EMPTY)
