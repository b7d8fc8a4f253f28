"""Count the modules, lines, circles and deep imports of this repository.

    python benchmarks/house.py [--repo PATH] [--against GIT_REV] [--json]

With `--against`, the same counts of an earlier revision stand beside those of the checkout. That
revision is read from the objects of git, without a checkout of it.

A line of code is a line that is neither blank, nor a comment, nor part of a docstring. A circle is
a group of modules, or of rooms (folders), that import each other. An import past a public surface
is one by the face of a module inside `callsheet.actors` or `callsheet.runtime`.
"""

import ast
import io
import json
import statistics
import subprocess
import tarfile
import tokenize
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import click

from bench_kit.import_graph import Import, ImportGraph, circles, read_files
from bench_kit.report import make_table, print_tables

_PARTS = {  # the first that a path begins with counts; {prefix: part}
    "actors/": "actors",
    "runtime/": "runtime",
    "src/callsheet/bulk/": "bulk",
    "src/callsheet/simulator/": "simulator",
    "src/callsheet/provider/": "simulator",  # its name until it was renamed
    "src/callsheet/": "face, rest",
    "tests/": "tests",
}
_LAYOUT = (
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
)
_SURFACES = ("callsheet.actors.", "callsheet.runtime.")
_PRODUCT = ("actors", "runtime", "face, rest", "bulk", "simulator")


@click.command()
@click.option(
    "--repo",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(__file__).parent.parent,
    help="The checkout to count; this one by default.",
)
@click.option("--against", metavar="GIT_REV", help="Show an earlier revision beside it.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def main(*, repo: Path, against: str | None, as_json: bool) -> None:
    """Count the modules, lines, circles and deep imports of this repository."""
    columns = {"now": house(read_files(repo))}
    if against is not None:
        columns = {against: house(_files_at(repo, against)), **columns}
    if as_json:
        click.echo(json.dumps(columns, indent=2))
        return
    table = make_table(["count"], list(columns))
    for name in columns["now"]:
        table.add_row(name, *(f"{counts[name]:,}" for counts in columns.values()))
    print_tables([table], [])


def house(files: Mapping[str, str]) -> dict[str, int]:
    """Return the counts of a repository by their names.

    Args:
        files: the text of each Python file by its path in the repository.
    """
    lines = {path: len(text.splitlines()) for path, text in files.items()}
    code = {path: _code_lines(text) for path, text in files.items()}
    product = [path for path in files if _part(path) in _PRODUCT]
    counts: dict[str, int] = {}
    groups = {part: [path for path in files if _part(path) == part] for part in _PARTS.values()}
    groups["all but tests"] = product
    for part, paths in groups.items():
        counts |= {
            f"{part}: modules": len(paths),
            f"{part}: lines": sum(lines[path] for path in paths),
            f"{part}: lines of code": sum(code[path] for path in paths),
            f"{part}: median module": round(statistics.median([lines[path] for path in paths])),
            f"{part}: largest module": max(lines[path] for path in paths),
        }
        if part not in ("tests", "all but tests"):
            counts[f"{part}: largest room, files"] = max(_rooms(paths).values())
    return counts | _imports(ImportGraph(files))


def _imports(graph: ImportGraph) -> dict[str, int]:
    """Return the counts that are about imports."""
    files = circles((edge.importer, edge.target) for edge in graph.imports)
    rooms = circles(map(graph.rooms, graph.imports))
    importers = Counter(edge.target for edge in graph.imports)
    single = [name for name, count in importers.items() if count == 1]
    return {
        "circles of files": len(files),
        "files in circles": sum(map(len, files)),
        "circles of rooms": sum(not graph.packages.isdisjoint(circle) for circle in rooms),
        "imports past a public surface": sum(map(_is_past_a_surface, graph.imports)),
        "modules with one importer": len(set(single) - graph.packages),
    }


def _is_past_a_surface(edge: Import) -> bool:
    return edge.target.startswith(_SURFACES) and not f"{edge.importer}.".startswith(_SURFACES)


def _part(path: str) -> str:
    """Return the part of the repository that a path belongs to."""
    return next(part for prefix, part in _PARTS.items() if path.startswith(prefix))


def _rooms(paths: Iterable[str]) -> Counter[str]:
    """Count the modules of each folder, without those of its folders and without its `__init__`."""
    named = (PurePosixPath(path) for path in paths)
    return Counter(str(path.parent) for path in named if path.name != "__init__.py")


def _code_lines(source: str) -> int:
    """Count the lines that are neither blank, nor comments, nor docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        text = node.value if isinstance(node, ast.Expr) else None
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and text.end_lineno:
            lines.difference_update(range(text.lineno, text.end_lineno + 1))
    return len(lines)


def _files_at(repo: Path, revision: str) -> dict[str, str]:
    """Return the text of each Python file of a revision by its path, read with `git archive`."""
    command = ["git", "-C", str(repo), "archive", revision, "actors", "runtime", "src", "tests"]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    files: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith(".py"):
                content = tar.extractfile(member)
                files[member.name] = content.read().decode() if content else ""
    return files


if __name__ == "__main__":
    main()
