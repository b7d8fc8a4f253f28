"""Which modules an import loads. Each program runs in a fresh process, or in a fork of one.

httpx imports click, rich and pygments where they are installed, and structlog imports rich. So the
programs run as if the optional packages were not installed: their import fails.
"""

import ast
import builtins
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import callsheet
import callsheet.actors
import callsheet.runtime

REPO = Path(__file__).resolve().parent.parent
TROUPE = "from callsheet import open_troupe, Request, Endpoint, TroupeSettings"
OPTIONAL = (
    "click", "hypercorn", "charset_normalizer", "jinja2", "matplotlib", "openpyxl", "platformdirs",
    "prometheus_client", "pyarrow", "pygments", "rich", "sqlite3",
)  # fmt: skip
BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked by the test")

sys.meta_path.insert(0, Blocker())
"""
STAGES = ("batch_api", "cache", "compose", "ledger")


@cache
def modules_after(program, *, blocked=()):
    """Run a program in a fresh process, once, and return the modules that it has loaded."""
    program = f"{BLOCK.format(blocked=blocked)}\n{program}\n"
    program += "print('MODULES', *sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    *_, modules = run.stdout.splitlines()
    return frozenset(modules.split()[1:])


@cache
def modules_after_each(first, programs):
    """Run a program in a fresh process, and each of the others in a fork of what it leaves.

    Returns:
        The modules that are loaded then, by the program.
    """
    each = "".join(
        f"""
if (pid := os.fork()) == 0:
    exec({program!r}, globals())
    print('MODULES', *sys.modules, flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
        for program in programs
    )
    run = subprocess.run(
        [sys.executable, "-c", f"import os, sys\n{first}\n{each}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = [line.split()[1:] for line in run.stdout.splitlines() if line.startswith("MODULES")]
    return dict(zip(programs, map(frozenset, lines), strict=True))


def loaded_of(modules, package):
    """Return the modules inside a package; the package itself has only its table of names."""
    return {name for name in modules if name.startswith(f"{package}.")}


# --------------------------------------------------------------------------------------- a troupe

STORES = """
from callsheet.actors import shared
shared.stores_at('redis://localhost'), shared.MemoryStores()
"""
CLIENTS = ("coredis", "beartype")
JSON_SCHEMA = "Request.of('Hi', model='m', json_schema={}).output_schema"
TYPED = "Request.of('Hi', model='m', returns=int)"
OPEN = """
import trio
from callsheet.actors import BatchApiPolicy, CachePolicy, LedgerPolicy

async def main():
    settings = TroupeSettings(endpoint=Endpoint("http://127.0.0.1:1/v1"), SETTINGS)
    async with open_troupe(settings):
        pass

trio.run(main)
"""
OPENED = {
    OPEN.replace("SETTINGS", setting): room
    for setting, room in (
        ("", None),
        ("cache=CachePolicy(path=None)", "cache"),
        ("ledger=LedgerPolicy()", "ledger"),
        ("batches=BatchApiPolicy()", "batch_api"),
    )
}
WITHOUT_CLIENTS = BLOCK.format(blocked=CLIENTS) + STORES


def modules_after_troupe(program="pass"):
    """Return the modules that are loaded after the import of a troupe and a program."""
    programs = ("pass", WITHOUT_CLIENTS, JSON_SCHEMA, TYPED, *OPENED)
    return modules_after_each(TROUPE, programs)[program]


def test_a_troupe_is_imported_without_the_optional_packages():
    modules = modules_after(TROUPE, blocked=OPTIONAL)
    assert not modules & set(OPTIONAL)
    assert "callsheet.actors.casting" in modules


def test_a_blocked_package_cannot_be_imported():
    with pytest.raises(AssertionError, match="jinja2 is blocked by the test"):
        modules_after("import jinja2", blocked=OPTIONAL)


@pytest.mark.parametrize("room", STAGES)
def test_importing_a_troupe_loads_no_optional_stage(room):
    assert not loaded_of(modules_after_troupe(), f"callsheet.actors.{room}")


def test_importing_a_troupe_or_a_url_loads_no_client_of_a_shared_server():
    assert not modules_after_troupe() & set(CLIENTS)
    assert not modules_after_troupe(WITHOUT_CLIENTS) & set(CLIENTS)


def test_importing_a_troupe_loads_no_batch_api():
    loaded = loaded_of(modules_after_troupe(), "callsheet.actors.vendors")
    assert not {name for name in loaded if ".batch_" in name}


def test_schemas_are_loaded_with_the_first_class_of_a_result():
    assert not modules_after_troupe(JSON_SCHEMA) & {"msgspec", "pydantic"}
    modules = modules_after_troupe(TYPED)
    assert "msgspec" in modules
    assert "pydantic" not in modules


@pytest.mark.parametrize(("program", "room"), OPENED.items(), ids=map(str, OPENED.values()))
def test_opening_a_troupe_loads_the_stages_that_its_settings_ask_for(program, room):
    modules = modules_after_troupe(program)
    loaded = {it for it in STAGES if f"callsheet.actors.{it}.actor" in modules}
    assert loaded - {"compose"} == {room} - {None}
    assert "jinja2" not in modules  # loaded with the first post
    assert room is not None or "sqlite3" not in modules


NAMES = (
    "from callsheet.actors import VENDORS, PriceBook, redact_secrets",
    "from callsheet.actors import CallEvent, Usage, log_call",
    "from callsheet.actors import BatchApiPolicy, CachePolicy, LedgerPolicy, Limits, Routing",
)


@pytest.mark.parametrize("program", NAMES)
def test_a_name_of_the_actors_loads_no_actor(program):
    modules = modules_after_each("import callsheet.actors", NAMES)[program]
    assert not {it for it in loaded_of(modules, "callsheet.actors") if it.endswith(".actor")}
    assert not modules & {"callsheet.actors.casting", "jinja2", "sqlite3"}


# ---------------------------------------------------------------------------- the other packages


def test_importing_the_runtime_loads_nothing_of_the_actors_or_the_face():
    modules = modules_after("import callsheet.runtime")
    ours = {name for name in modules if name.partition(".")[0] == "callsheet"}
    assert ours - loaded_of(ours, "callsheet.runtime") == {
        "callsheet",
        "callsheet._version",
        "callsheet.runtime",
    }
    assert "httpx" not in modules


def test_importing_callsheet_loads_neither_package():
    modules = modules_after("import callsheet")
    assert not modules & {"callsheet.actors", "callsheet.runtime", "trio", "attrs", "click"}


def test_the_version_is_printed_without_the_libraries_of_the_commands():
    program = """
from callsheet.cli import main
main(["--version"], standalone_mode=False)
"""
    modules = modules_after(program)
    assert not modules & {"trio", "attrs", "httpx", "rich", "callsheet.actors", "callsheet.runtime"}


def test_without_its_package_the_metrics_name_the_extra():
    program = """
try:
    import callsheet.metrics
except ImportError as error:
    assert str(error).startswith("callsheet.metrics needs prometheus-client; install the"), error
    assert "--extra metrics" in str(error), error
else:
    raise AssertionError("it was imported")
"""
    modules_after(program, blocked=OPTIONAL)


# ---------------------------------------------------------------- names that are loaded when used

LAZY = [
    name.removesuffix(".__init__")
    for path in sorted((REPO / "actors").rglob("__init__.py"))
    for name in [".".join(["callsheet", *path.relative_to(REPO).with_suffix("").parts])]
]


def imported_names(package):
    """Return what the `__init__` of a package imports for type checkers, and defers."""
    tree = ast.parse(Path(import_module(package).__file__).read_text())
    return {
        alias.name
        for node in tree.body
        if isinstance(node, ast.If | ast.With)
        for inner in node.body
        if isinstance(inner, ast.ImportFrom)
        for alias in inner.names
    }


@pytest.mark.parametrize("package", [*LAZY, "callsheet"])
def test_type_checkers_and_programs_find_the_same_names(package):
    module = import_module(package)
    public = set(module.__all__) - {"__version__"}
    assert imported_names(package) == public
    assert public <= set(dir(module))
    for name in public:
        assert getattr(module, name) is not None, name


@pytest.mark.parametrize("package", [*LAZY, "callsheet"])
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = import_module(package).nothing
    assert not hasattr(import_module(package), "annotations")


def make_package(monkeypatch, tmp_path, init):
    """Write a package of two modules and make it importable."""
    package = tmp_path / "lazy_example"
    package.mkdir()
    (package / "__init__.py").write_text(init)
    (package / "part.py").write_text("import json\nvalue = 1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "lazy_example", None)
    del sys.modules["lazy_example"]


def test_only_the_imports_of_the_package_itself_are_deferred(monkeypatch, tmp_path):
    make_package(
        monkeypatch,
        tmp_path,
        """
from importlib import import_module
from callsheet.actors.lazy import lazy_imports
with lazy_imports(__name__):
    from .missing import never as never
    from .part import value as value
    loaded = import_module("lazy_example.part")  # its own import is not deferred
""",
    )
    module = import_module("lazy_example")
    assert module.loaded.json.loads("1") == 1
    assert module.__all__ == ["never", "value"]
    assert "value" not in vars(module)
    assert module.value == 1 == vars(module)["value"]
    with pytest.raises(ModuleNotFoundError, match="lazy_example"):
        _ = module.never


def test_imports_are_as_before_after_an_error_in_a_block(monkeypatch, tmp_path):
    before = builtins.__import__
    make_package(
        monkeypatch,
        tmp_path,
        """
from callsheet.actors.lazy import lazy_imports
with lazy_imports(__name__):
    raise ValueError("in the block")
""",
    )
    with pytest.raises(ValueError, match="in the block"):
        import_module("lazy_example")
    assert builtins.__import__ is before


def test_a_star_import_brings_every_public_name():
    names = {}
    exec("from callsheet.actors import *", names)
    assert set(callsheet.actors.__all__) <= names.keys()


def test_the_packages_are_attributes_of_callsheet():
    program = "import callsheet\ncallsheet.runtime.Actor, callsheet.actors.Request"
    assert "callsheet.actors.messages" in modules_after(program)


# ------------------------------------------------------------------------- names that are elsewhere


@pytest.mark.parametrize(
    ("package", "name", "home"),
    [
        ("callsheet", "BudgetExceeded", "callsheet.actors"),
        ("callsheet", "Supervisor", "callsheet.runtime"),
        ("callsheet.aio", "Request", "callsheet"),
        ("callsheet.aio", "LedgerPolicy", "callsheet.actors"),
        ("callsheet.sync", "TroupeSettings", "callsheet"),
        ("callsheet", "run_virtual", "callsheet.runtime.testing"),
        ("callsheet", "Provider", "callsheet.simulator"),
        ("callsheet.aio", "insert", "callsheet"),
    ],
)
def test_an_import_from_the_wrong_package_names_the_right_one(package, name, home):
    with pytest.raises(ImportError, match=rf"has no {name}; .*: from {home} import {name}$"):
        exec(f"from {package} import {name}")  # as a program has it
    exec(f"from {home} import {name}")


@pytest.mark.parametrize("package", ["callsheet", "callsheet.aio", "callsheet.sync"])
@pytest.mark.parametrize("name", ["Nowhere", "log_call", "__wrapped__", "BudgetExceeded"])
def test_a_name_that_no_package_has_is_an_ordinary_missing_attribute(package, name):
    assert not hasattr(import_module(package), name)


def test_code_without_a_module_name_asks_for_a_missing_attribute():
    space = {"package": import_module("callsheet")}
    exec("found = hasattr(package, 'BudgetExceeded')", space)
    assert space["found"] is False
