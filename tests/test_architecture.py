"""What may import what, and that one class name stands for one thing.

The rules are read from the source text, so that they also hold for imports under `TYPE_CHECKING`
and inside functions. Each rule is a function that returns what breaks it. The last tests show that
each of them finds a fault in a small tree that is made for it.
"""

import ast
import gc
import sys
from collections import defaultdict
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.append(str(REPO / "benchmarks"))

from bench_kit.import_graph import ImportGraph, circles, read_files, statements  # noqa: E402

ACTORS, RUNTIME, FACE = "callsheet.actors", "callsheet.runtime", "callsheet"
LAYERS = (RUNTIME, ACTORS, FACE)  # from the lowest up
SIMULATOR = "callsheet.simulator"
CORE = "callsheet.runtime._core"  # one actor in several files, which know each other

ASYNCIO = "callsheet.aio"  # the only modules that know another event loop than Trio's (R13)

CLOCKS = {"time.time", "time.monotonic", "datetime.now", "date.today"}

SHARED_NAMES = {
    "Json",  # the simulator imports nothing of the actors, so it has its own
}


def is_in(module, package):
    return module == package or module.startswith(f"{package}.")


def layer(module):
    return next(package for package in LAYERS if is_in(module, package))


# ------------------------------------------------------------------------------------- the rules


def upward_imports(graph):
    """Imports of a higher layer by a lower one. Nothing imports the face."""
    return [
        str(edge)
        for edge in graph.imports
        if LAYERS.index(layer(edge.importer)) < LAYERS.index(layer(edge.target))
    ]


def imports_past_the_public_names(graph):
    """Imports of a module inside another layer: only the package itself has public names."""
    return [
        str(edge)
        for edge in graph.imports
        if layer(edge.importer) != layer(edge.target) and edge.target not in LAYERS
    ]


def imports_of_the_simulator(graph):
    """Imports by the simulator of anything of ours outside it."""
    return [
        str(edge)
        for edge in graph.imports
        if is_in(edge.importer, SIMULATOR) and not is_in(edge.target, SIMULATOR)
    ]


def imports_of_asyncio(graph):
    """Modules outside the door for asyncio that import asyncio."""
    return [
        module
        for module, tree in graph.trees.items()
        if not is_in(module, ASYNCIO)
        and any("asyncio" in imported_packages(node) for node in statements(tree))
    ]


def imported_packages(node):
    """The top-level packages that a statement imports by their full names."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {str(node.module).partition(".")[0]}
    return set()


def time_and_chance_of_their_own(graph):
    """Modules of the actors and the runtime that read a clock or share a generator (R13)."""
    return [
        f"{module}: {use}"
        for module, tree in graph.trees.items()
        if layer(module) != FACE
        for use in uses_of_time_and_chance(tree)
    ]


def uses_of_time_and_chance(tree):
    has_clock = False
    for node in statements(tree):
        packages = imported_packages(node)
        has_clock = has_clock or bool(packages & {"time", "datetime"})
        if isinstance(node, ast.Import) and "random" in packages:
            yield "import random"
        elif isinstance(node, ast.ImportFrom) and packages & {"random", "time"}:
            names = {alias.name for alias in node.names} - {"Random"}
            yield from (f"from {node.module} import {name}" for name in sorted(names))
    for node in ast.walk(tree) if has_clock else ():
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in CLOCKS:
            yield f"{name}()"


def imports_past_a_room(graph):
    """Imports of a module inside another room of the actors or the runtime."""
    return [
        str(edge)
        for edge in graph.imports
        if layer(edge.importer) == layer(edge.target) != FACE
        and edge.target != graph.rooms(edge)[1]
    ]


def room_circles(graph):
    """Rooms that import each other, at every depth, but for the core of the runtime."""
    edges = [graph.rooms(edge) for edge in graph.imports]
    return circles(edge for edge in edges if not is_in(edge[0], CORE) or not is_in(edge[1], CORE))


def file_circles(graph):
    """Modules that import each other, but for the core of the runtime."""
    edges = [(edge.importer, edge.target) for edge in graph.imports]
    return circles(edge for edge in edges if not is_in(edge[0], CORE) or not is_in(edge[1], CORE))


def shared_names(graph):
    """Names of classes and type aliases that two modules define, with these modules."""
    modules = defaultdict(set)
    for module, tree in graph.trees.items():
        for name in defined_types(tree):
            modules[name].add(module)
    return {name: sorted(found) for name, found in modules.items() if len(found) > 1}


def defined_types(tree):
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and not is_type_variable(node.value):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            yield from (name for name in names if name[0].isupper() and not name.isupper())


def is_type_variable(value):
    return isinstance(value, ast.Call) and ast.unparse(value.func).startswith("TypeVar")


# ------------------------------------------------------------------------------- this repository


@pytest.fixture(scope="module")
def graph():
    found = ImportGraph(read_files(REPO))
    gc.freeze()  # the collector would look at a million nodes again and again
    assert {ACTORS, RUNTIME, FACE, SIMULATOR} < found.packages
    assert len(found.imports) > len(found.trees)
    return found


def check(wrong, remedy):
    """Fail with the remedy and all that is wrong, one in a line."""
    lines = (" and ".join(one) if isinstance(one, tuple) else one for one in wrong)
    assert not wrong, "\n".join([f"{remedy} (docs/architecture.md, what may import what):", *lines])


def test_no_import_runs_upward(graph):
    check(
        upward_imports(graph),
        "a lower layer imports nothing of a higher one: move the code down, or pass it in",
    )


def test_layers_use_each_other_through_their_public_names(graph):
    check(
        imports_past_the_public_names(graph),
        "import these from the package of the layer, whose __init__.py has the public names",
    )


def test_the_simulator_imports_nothing_of_ours(graph):
    check(imports_of_the_simulator(graph), "the simulator stands alone: it has its own code")


def test_only_the_door_for_asyncio_imports_asyncio(graph):
    check(imports_of_asyncio(graph), "use Trio; only callsheet.aio imports asyncio")


def test_time_and_chance_are_injected(graph):
    check(
        time_and_chance_of_their_own(graph),
        "take trio.current_time(), or an argument such as `clock` or a `Random`, which tests give",
    )


def test_rooms_of_the_actors_and_the_runtime_are_used_through_their_init(graph):
    check(
        imports_past_a_room(graph),
        "import these from the folder, and add the name to its __init__.py if it is not there",
    )


def test_there_is_no_circle_between_rooms(graph):
    check(room_circles(graph), "these folders import each other: move what both need into another")


def test_there_is_no_circle_between_files(graph):
    check(file_circles(graph), "these files import each other: move what both need into another")


def test_a_class_name_stands_for_one_thing(graph):
    found = shared_names(graph)
    twice = sorted(found.keys() - SHARED_NAMES)
    check(
        [f"{name}: {' and '.join(found[name])}" for name in twice],
        "two modules define the same name: call the newer one otherwise",
    )


# ------------------------------------------------------------------------- that each rule can fail

SOUND = {
    "src/callsheet/__init__.py": "",
    "src/callsheet/face.py": "from .actors import Stage\nfrom .runtime import Actor",
    "src/callsheet/aio/__init__.py": "import asyncio",
    "src/callsheet/simulator/__init__.py": "from .app import App",
    "src/callsheet/simulator/app.py": "import trio\n\nclass App: ...",
    "actors/__init__.py": "from .room import Stage",
    "actors/flat.py": "from ..runtime import Actor",
    "actors/room/__init__.py": "from .inner import Stage",
    "actors/room/inner.py": "from ..flat import Actor\n\nclass Stage: ...",
    "runtime/__init__.py": "from ._core import Actor",
    "runtime/_core/__init__.py": "from .actor import Actor",
    "runtime/_core/actor.py": "from . import cell\n\nclass Actor: ...",
    "runtime/_core/cell.py": "from . import actor",
}


def tree_with(tmp_path, **changes):
    for path, text in (SOUND | changes).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return ImportGraph(read_files(tmp_path))


RULES = {
    upward_imports: [],
    imports_past_the_public_names: [],
    imports_of_the_simulator: [],
    imports_of_asyncio: [],
    time_and_chance_of_their_own: [],
    imports_past_a_room: [],
    room_circles: [],
    file_circles: [],
    shared_names: {},
}


@pytest.mark.parametrize("rule", RULES)
def test_a_sound_tree_breaks_no_rule(tmp_path, rule):
    assert rule(tree_with(tmp_path)) == RULES[rule]


@pytest.mark.parametrize(
    ("rule", "path", "text", "fault"),
    [
        (
            upward_imports,
            "runtime/bad.py",
            "def late():\n    from ..actors import Stage",
            ["callsheet.runtime.bad imports callsheet.actors"],
        ),
        (
            upward_imports,
            "actors/bad.py",
            "import callsheet.face",
            ["callsheet.actors.bad imports callsheet.face"],
        ),
        (
            upward_imports,
            "actors/room/bad.py",
            "from ... import face",
            ["callsheet.actors.room.bad imports callsheet.face"],
        ),
        (
            imports_past_the_public_names,
            "src/callsheet/bad.py",
            "if TYPE_CHECKING:\n    from .actors.room import Stage",
            ["callsheet.bad imports callsheet.actors.room"],
        ),
        (
            imports_past_the_public_names,
            "actors/bad.py",
            "from ..runtime._core import Actor",
            ["callsheet.actors.bad imports callsheet.runtime._core"],
        ),
        (
            imports_of_the_simulator,
            "src/callsheet/simulator/bad.py",
            "from ..runtime import Actor",
            ["callsheet.simulator.bad imports callsheet.runtime"],
        ),
        (
            imports_of_asyncio,
            "src/callsheet/bad.py",
            "def late():\n    from asyncio.events import get_running_loop",
            ["callsheet.bad"],
        ),
        (
            time_and_chance_of_their_own,
            "actors/bad.py",
            "import time\nfrom random import Random, choice\nNOW, CLOCK = time.time(), time.time",
            [
                "callsheet.actors.bad: from random import choice",
                "callsheet.actors.bad: time.time()",
            ],
        ),
        (
            imports_past_a_room,
            "actors/bad.py",
            "from .room.inner import Stage",
            ["callsheet.actors.bad imports callsheet.actors.room.inner"],
        ),
        (
            imports_past_a_room,
            "runtime/bad.py",
            "from ._core import cell",
            ["callsheet.runtime.bad imports callsheet.runtime._core.cell"],
        ),
        (
            room_circles,
            "actors/flat.py",
            "from .room import Stage",
            [("callsheet.actors.flat", "callsheet.actors.room")],
        ),
        (
            file_circles,
            "src/callsheet/simulator/app.py",
            "from . import App",
            [("callsheet.simulator", "callsheet.simulator.app")],
        ),
        (
            shared_names,
            "src/callsheet/face.py",
            "Stage = int | str",
            {"Stage": ["callsheet.actors.room.inner", "callsheet.face"]},
        ),
    ],
)
def test_each_rule_finds_its_fault(tmp_path, rule, path, text, fault):
    assert rule(tree_with(tmp_path, **{path: text})) == fault
