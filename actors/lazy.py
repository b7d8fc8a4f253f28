"""Load the modules of a package when one of their names is first used (PEP 562)."""

import sys
from collections.abc import Callable
from importlib import import_module


def lazy_names(
    package: str, **modules: str
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make the `__getattr__` and the `__dir__` of a package whose modules are loaded on first use.

    Type checkers cannot follow these functions, so that the package also imports each name under
    `TYPE_CHECKING`. A test asserts that both lists are the same.

    Args:
        package: the `__name__` of the package.
        **modules: for each module of the package, the names that it provides, separated by spaces.
    """
    home = {name: module for module, names in modules.items() for name in names.split()}
    namespace = vars(sys.modules[package])

    def load(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(import_module(f"{package}.{home[name]}"), name)
        return value

    def names() -> list[str]:
        return sorted({*namespace, *home})

    return load, names
