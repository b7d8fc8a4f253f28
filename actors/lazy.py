"""Load the modules of a package when one of their names is first used (PEP 562)."""

import builtins
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import NamedTuple

_import_lock = Lock()


class _Deferred(NamedTuple):
    """A name that is imported later."""

    module: str
    name: str


class _DeferredModule(ModuleType):
    """A module that is imported later: all of its names are deferred."""

    def __getattr__(self, name: str) -> _Deferred:
        return _Deferred(self.__name__, name)


@contextmanager
def lazy_imports(package: str) -> Generator[None]:
    """Defer the imports of a `with` block in the `__init__` of a package.

    Each `from .module import Name as Name` of the block makes a public name of the package, whose
    module is loaded when a program first uses the name. Type checkers read plain imports. The
    package gets its `__getattr__`, `__dir__` and `__all__`. The block has nothing but such imports.

    The statement `import` calls `builtins.__import__`, so that is replaced during the block. The
    imports of other modules, in other threads, go to the one that was there.

    Args:
        package: the `__name__` of the package.
    """
    namespace = vars(sys.modules[package])
    with _import_lock:
        import_now = builtins.__import__

        def import_later(
            name: str,
            globals: Mapping[str, object] | None = None,  # noqa: A002  # as Python names it
            locals: Mapping[str, object] | None = None,  # noqa: A002
            fromlist: Sequence[str] | None = (),
            level: int = 0,
        ) -> ModuleType:
            if globals is namespace:
                return _DeferredModule(f"{package}.{name}")
            return import_now(name, globals, locals, fromlist or (), level)

        builtins.__import__ = import_later
        try:
            yield
        finally:
            builtins.__import__ = import_now
    _defer(namespace, package)


def _defer(namespace: dict[str, object], package: str) -> None:
    """Take the deferred names out of a package, and load each when it is first used."""
    deferred = {name: it for name, it in namespace.items() if isinstance(it, _Deferred)}
    for name in deferred:
        del namespace[name]

    def load(name: str) -> object:
        if name not in deferred:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, original = deferred[name]
        value = namespace[name] = getattr(import_module(module), original)
        return value

    def names() -> list[str]:
        return sorted({*namespace, *deferred})

    namespace.update(__getattr__=load, __dir__=names, __all__=sorted(deferred))
