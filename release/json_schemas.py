"""Write the JSON schemas of what Callsheet writes for programs, `docs/schemas/*.schema.json`.

    uv run python release/json_schemas.py

Members and descriptions are those of the classes that are written, and of the classes in these.
"""

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import msgspec

from callsheet.actors import Reading
from callsheet.cli.run import json_summary

SCHEMAS: dict[str, tuple[type, ...]] = {
    "reading": (Reading,),
    "run-summary": (json_summary.RunSummary,),
}
"""{name of the schema: the classes, one of which each value is}."""

FOLDER = Path(__file__).parent.parent / "docs/schemas"
_ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def path_of(name: str) -> Path:
    """Return the file of a schema.

    Args:
        name: a key of `SCHEMAS`.
    """
    return FOLDER / f"{name}.schema.json"


def schema_of(name: str) -> str:
    """Return the text of a schema.

    Args:
        name: a key of `SCHEMAS`.
    """
    kinds = SCHEMAS[name]
    parts, made = msgspec.json.schema_components(kinds)
    classes = {kind.__name__: kind for kind in _classes_of(kinds)}
    defs = {title: _described(one, classes[title]) for title, one in made.items()}
    whole = parts[0] if len(parts) == 1 else {"anyOf": list(parts)}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return f"{json.dumps(head | whole | {'$defs': defs}, indent=2)}\n"


def _described(schema: dict[str, Any], kind: type) -> dict[str, Any]:
    """Return the schema of one class with what its docstring says."""
    members = schema["properties"]
    about = {name: text for name, text in _arguments(kind).items() if name in members}
    absent = {one.name for one in attrs.fields(kind) if one.default is msgspec.UNSET}
    return schema | {
        "description": (inspect.getdoc(kind) or "").partition("\n")[0],
        "required": [name for name in about if name not in absent],
        "properties": {
            name: {"description": text} | _without_default(members[name])
            for name, text in about.items()
        },
    }


def _arguments(kind: type) -> dict[str, str]:
    """Return {member: what it is}, with those of the classes that a class extends."""
    found: dict[str, str] = {}
    for one in kind.__mro__:
        doc = inspect.cleandoc(one.__doc__ or "") if attrs.has(one) else ""
        for name, text in _ARGUMENT.findall(doc):
            found.setdefault(name, " ".join(text.split()))
    return found


def _without_default(member: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in member.items() if key != "default"}


def _classes_of(kinds: Iterable[object]) -> Iterator[type]:
    """Yield the attrs classes among types, and those of their members."""
    for kind in kinds:
        if isinstance(kind, type) and attrs.has(kind):
            yield kind
            yield from _classes_of(get_type_hints(kind).values())
        yield from _classes_of(get_args(kind))


if __name__ == "__main__":
    for schema in SCHEMAS:
        path_of(schema).write_text(schema_of(schema), encoding="utf-8")
