"""Write the JSON schemas of what Callsheet writes for programs, `docs/schemas/*.schema.json`.

    uv run python release/json_schemas.py

Members and descriptions are those of the classes that are written, and of the classes in these.
"""

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict

import attrs
import msgspec

from callsheet.actors import Post, Reading
from callsheet.actors.inspection.lines import InspectedProgram, ReadingRefused
from callsheet.bulk.files.line_members import ErrorLine, OutputLine
from callsheet.bulk.watching.events import RunEvent
from callsheet.cli.compose.job import FailedPost
from callsheet.cli.run.json_summary import RunSummary
from callsheet.compare.comparison import ComparisonDocument
from callsheet.costs import CostDocument
from callsheet.costs.price_table import PriceList
from callsheet.doctor import DoctorReport
from callsheet.gateway.keys.report import CreatedKey, KeyList
from callsheet.gateway.operations import Readiness
from callsheet.gateway.page.document import PageDocument
from callsheet.gateway.page.timelines import CallTimeline
from callsheet.simulator.stats import BilledTokens, ProviderStats

SCHEMAS: dict[str, tuple[type, ...]] = {
    "call-timeline": (CallTimeline,),
    "comparison": (ComparisonDocument,),
    "costs": (CostDocument,),
    "created-key": (CreatedKey,),
    "doctor": (DoctorReport,),
    "error-line": get_args(ErrorLine),
    "event": get_args(RunEvent),
    "gateway-page": (PageDocument,),
    "inspected-program": (InspectedProgram, ReadingRefused),
    "keys": (KeyList,),
    "output-line": get_args(OutputLine),
    "post": (Post, FailedPost),
    "prices": (PriceList,),
    "reading": (Reading,),
    "readiness": (Readiness,),
    "run-summary": (RunSummary,),
    "simulator-statistics": (ProviderStats,),
}
"""{name of the schema: the classes, one of which each value is}."""

_OMITTED = {Post: {"results", "titles"}}
"""{class: what it has, but no JSON of it}; the docstring says what JSON has instead."""

_MAY_LACK = {BilledTokens: {"cached_tokens", "written_tokens", "saved_tokens"}}
"""{class: members that its JSON may lack}; so are those whose default is `msgspec.UNSET`."""

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
    parts, made = msgspec.json.schema_components(kinds, schema_hook=_any_value)
    classes = {kind.__name__: kind for kind in _classes_of(kinds)}
    defs = {title: _described(one, classes[title]) for title, one in made.items()}
    whole = parts[0] if len(parts) == 1 else {"anyOf": list(parts)}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return f"{json.dumps(head | whole | {'$defs': defs}, indent=2)}\n"


def _any_value(kind: type) -> dict[str, Any]:
    """Return the schema of a type that msgspec does not know."""
    if kind is object:
        return {"description": "any value."}
    raise NotImplementedError


def _described(schema: dict[str, Any], kind: type) -> dict[str, Any]:
    """Return the schema of one class with what its docstring says."""
    members = schema["properties"]
    omitted = _OMITTED.get(kind, set[str]())
    about = {name: it for name, it in _arguments(kind).items() if name in members.keys() - omitted}
    return schema | {
        "description": _text((inspect.getdoc(kind) or "").partition("\n\nArgs:")[0]),
        "required": [name for name in about if name not in _may_lack(kind)],
        "properties": {
            name: {"description": text} | _shown(name, members[name])
            for name, text in about.items()
        },
    }


def _may_lack(kind: type) -> frozenset[str]:
    """Return the members that JSON of a class may lack."""
    if is_typeddict(kind):
        return kind.__optional_keys__
    unset = {one.name for one in attrs.fields(kind) if one.default is msgspec.UNSET}
    return frozenset(unset | _MAY_LACK.get(kind, set[str]()))


def _arguments(kind: type) -> dict[str, str]:
    """Return {member: what it is}, with those of the classes that a class extends."""
    found: dict[str, str] = {}
    for one in kind.__mro__:
        doc = inspect.cleandoc(one.__doc__ or "") if _is_described(one) else ""
        for name, text in _ARGUMENT.findall(doc):
            found.setdefault(name, _text(text))
    return found


def _text(words: str) -> str:
    """Return words of a docstring on one line, as readers of JSON know them."""
    return re.sub(r"\bNone\b", "null", " ".join(words.split())).replace("``", "`")


def _shown(name: str, member: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a member: without its default, and with the format of an amount."""
    if name.endswith("_usd") and "anyOf" in member:
        return {"anyOf": [_shown(name, one) for one in member["anyOf"]]}
    if name.endswith("_usd") and member.get("type") == "string":
        return {"type": "string", "format": "decimal"}
    return {key: value for key, value in member.items() if key != "default"}


def _is_described(kind: type) -> bool:
    return attrs.has(kind) or is_typeddict(kind)


def _classes_of(kinds: Iterable[object]) -> Iterator[type]:
    """Yield the attrs classes among types, and those of their members."""
    for kind in kinds:
        if isinstance(kind, type) and _is_described(kind):
            yield kind
            yield from _classes_of(get_type_hints(kind).values())
        yield from _classes_of(get_args(kind))


if __name__ == "__main__":
    for schema in SCHEMAS:
        path_of(schema).write_text(schema_of(schema), encoding="utf-8")
