"""Say where a name is that a program imports from the wrong package of Callsheet."""

import inspect
from importlib import import_module
from importlib.util import find_spec

HOMES = (
    "callsheet",
    "callsheet.actors",
    "callsheet.runtime",
    "callsheet.runtime.testing",
    "callsheet.simulator",
)


def no_name(name: str, package: str) -> Exception:
    """Return the error of a package that lacks a name.

    Python replaces the text of an `AttributeError` in `from package import name`. So in an import,
    a public name that another package has is an `ImportError`, whose text arrives. Anything else,
    such as `hasattr` or the import of a submodule, gets the `AttributeError` that it expects.

    Args:
        name: the name that the package lacks.
        package: the package that a program has looked in.
    """
    if _asks() == "importlib._bootstrap" and not find_spec(f"{package}.{name}"):
        for home in HOMES:
            if home != package and name in import_module(home).__all__:
                return ImportError(
                    f"{package} has no {name}; it is in {home}: from {home} import {name}",
                    name=name,
                )
    return AttributeError(f"module {package!r} has no attribute {name!r}")


def _asks() -> object:
    """Return the name of the module that has called ``__getattr__`` of a package."""
    frame = inspect.currentframe()
    for _ in range(3):  # from here to `no_name`, to `__getattr__`, and to its caller
        frame = frame and frame.f_back
    return frame and frame.f_globals.get("__name__")
