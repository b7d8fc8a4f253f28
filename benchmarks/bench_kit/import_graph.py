"""The imports of this repository as a graph, read from the source text with `ast`."""

import ast
import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import final

import attrs

__all__ = ["Import", "ImportGraph", "circles", "module_name", "read_files", "statements"]

_ROOTS = {  # {folder of the repository: the package that it is}
    "actors/": "callsheet.actors",
    "runtime/": "callsheet.runtime",
    "src/callsheet/": "callsheet",
}

_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def read_files(repo: Path) -> dict[str, str]:
    """Read the Python files of a checkout and return {path: text}. Symbolic links are skipped."""
    files: dict[str, str] = {}
    for root in (*_ROOTS, "tests/"):
        for folder, _, names in os.walk(repo / root):
            paths = (Path(folder, name) for name in sorted(names) if name.endswith(".py"))
            files |= {path.relative_to(repo).as_posix(): path.read_text("utf-8") for path in paths}
    return files


def module_name(path: str) -> str | None:
    """Return the dotted name of the module at a path, or None if it is not part of the product."""
    for root, package in _ROOTS.items():
        if path.startswith(root):
            inside = path.removeprefix(root).removesuffix(".py").removesuffix("__init__")
            return ".".join(filter(None, (package, *inside.split("/"))))
    return None


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Return the statements in a tree, at every depth. No expression is looked at, for speed."""
    waiting: list[ast.AST] = [tree]
    for node in waiting:
        for name in _BLOCKS:
            waiting.extend(getattr(node, name, ()))
        yield node


@attrs.frozen
class Import:
    """One import of a module of the product by another.

    Args:
        importer: the dotted name of the module that imports.
        target: the dotted name of the module that is imported.
    """

    importer: str
    target: str

    def __str__(self) -> str:
        return f"{self.importer} imports {self.target}"


@final
class ImportGraph:
    """The modules of the product and their imports, including those under `TYPE_CHECKING`.

    Args:
        files: the text of each file by its path in the repository; others than the product's are
            ignored.

    Attributes:
        trees: the syntax tree of each module, by its dotted name.
        packages: the modules that are packages.
        imports: each import of one module of the product by another, once.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        named = {name: path for path in files if (name := module_name(path)) is not None}
        self.trees = _parsed({name: files[path] for name, path in sorted(named.items())})
        self.packages = {name for name, path in named.items() if path.endswith("/__init__.py")}
        self.imports = tuple(
            dict.fromkeys(
                Import(importer, target)
                for importer, tree in self.trees.items()
                for target in self._targets(importer, tree)
                if target != importer
            )
        )

    def rooms(self, edge: Import) -> tuple[str, str]:
        """Return the two rooms of an import: where the paths of its modules begin to differ."""
        importer, target = edge.importer.split("."), edge.target.split(".")
        shared = 0
        while importer[shared : shared + 1] == target[shared : shared + 1] != []:
            shared += 1
        return ".".join(importer[: shared + 1]), ".".join(target[: shared + 1])

    def _targets(self, importer: str, tree: ast.Module) -> Iterator[str]:
        for node in statements(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self.trees)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(importer, node)
                for alias in node.names:
                    target = f"{base}.{alias.name}"
                    target = target if target in self.trees else base
                    if target in self.trees:
                        yield target

    def _base(self, importer: str, node: ast.ImportFrom) -> str:
        parts = importer.split(".")
        above = node.level - (importer in self.packages)
        start = parts[: len(parts) - above] if node.level else []
        return ".".join([*start, *filter(None, [node.module])])


def _parsed(texts: Mapping[str, str]) -> dict[str, ast.Module]:
    """Return the tree of each text. The garbage collector would take four times as long as that."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return {name: ast.parse(text) for name, text in texts.items()}
    finally:
        if was_enabled:
            gc.enable()


def circles(edges: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return the groups of nodes that reach each other, each sorted.

    Args:
        edges: pairs of nodes, the first of which imports the second.
    """
    nexts: dict[str, set[str]] = {}
    for one, other in edges:
        nexts.setdefault(one, set()).add(other)
        nexts.setdefault(other, set())
    reached = {node: _reachable(node, nexts) for node in nexts}
    groups = {
        tuple(sorted(other for other in reached[node] if node in reached[other]))
        for node in nexts
        if node in reached[node]
    }
    return sorted(groups)


def _reachable(start: str, nexts: Mapping[str, Iterable[str]]) -> set[str]:
    """Return every node that can be reached over one edge or more."""
    reached: set[str] = set()
    waiting = list(nexts[start])
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting.extend(nexts[node])
    return reached
