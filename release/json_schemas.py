"""Write the JSON schemas of what Callsheet writes for programs, and of the files that it reads.

    uv run python release/json_schemas.py

writes `docs/schemas/*.schema.json`. Members and descriptions are those of the classes that are
written, or read, and of the classes in these.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import attrs
import msgspec

from callsheet.actors import Limits, Post, Reading, TroupeSettings
from callsheet.actors.compose import Recipe
from callsheet.actors.inspection.lines import InspectedProgram, ReadingRefused
from callsheet.actors.vendors.price_rows import PriceFileMembers
from callsheet.bulk.files.line_members import ErrorLine, OutputLine
from callsheet.bulk.reading.input_lines import InputLine
from callsheet.bulk.watching.events import RunEvent
from callsheet.cli.compose.job import FailedPost
from callsheet.cli.run.json_summary import RunSummary
from callsheet.cli.run.limits_table import LimitsFile
from callsheet.compare.comparison import ComparisonDocument
from callsheet.config.endpoints import EndpointTable
from callsheet.config.settings import SECTIONS
from callsheet.config.shared import SharedTable
from callsheet.config.tables import settable_fields
from callsheet.costs import CostDocument
from callsheet.costs.price_table import PriceList
from callsheet.doctor import DoctorReport
from callsheet.gateway.file import GatewayTable, KeysTable, ModelTable
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
"""{name of the schema: the classes, one of which each value that is written is}."""

FILES: dict[str, tuple[type, ...]] = {
    "input-line": get_args(InputLine),
    "limits-file": (LimitsFile,),
    "price-file": (PriceFileMembers,),
    "recipe": (Recipe,),
}
"""{name of the schema: the classes, one of which each value that is read is}."""

SETTINGS = "settings"
"""The name of the schema of the settings file."""

_OMITTED = {Post: {"results", "titles"}}
"""{class: what it has, but no JSON of it}; the docstring says what JSON has instead."""

_OPEN_FILES = {"input-line"}
"""Names of files whose objects may have other members, which go to the provider."""

_MAY_LACK = {BilledTokens: {"cached_tokens", "written_tokens", "saved_tokens"}}
"""{class: members that its JSON may lack}; so are those whose default is `msgspec.UNSET`."""

FOLDER = Path(__file__).parent.parent / "docs/schemas"
_RULE = re.compile(r" \([LR]\d+\)")  # of this project, which users do not know
_ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def path_of(name: str) -> Path:
    """Return the file of a schema.

    Args:
        name: a key of `SCHEMAS` or `FILES`, or `SETTINGS`.
    """
    return FOLDER / f"{name}.schema.json"


def schema_of(name: str) -> str:
    """Return the text of a schema.

    Args:
        name: a key of `SCHEMAS` or `FILES`, or `SETTINGS`.
    """
    if name == SETTINGS:
        return _written(_Settings().schema())
    kinds = FILES[name] if name in FILES else SCHEMAS[name]
    parts, made = msgspec.json.schema_components(kinds, schema_hook=_any_value)
    classes = {kind.__name__: kind for kind in _classes_of(kinds)}
    defs = {title: _described(one, classes[title]) for title, one in made.items()}
    if name in FILES:
        is_closed = name not in _OPEN_FILES
        for title in defs:
            defs[title] |= _read(classes[title], is_closed=is_closed)
    whole = parts[0] if len(parts) == 1 else {"anyOf": list(parts)}
    return _written(whole | {"$defs": defs})


def _written(schema: dict[str, Any]) -> str:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return f"{json.dumps(head | schema, indent=2)}\n"


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
        "description": _about(kind),
        "required": [name for name in about if name not in _may_lack(kind)],
        "properties": {
            name: {"description": text} | _shown(name, members[name])
            for name, text in about.items()
        },
    }


def _read(kind: type, *, is_closed: bool) -> dict[str, Any]:
    """Return what the schema of a class has in a file that is read, and not written."""
    found: dict[str, Any] = {"additionalProperties": False} if is_closed else {}
    if attrs.has(kind):
        needed = [one.name for one in attrs.fields(kind) if one.default is attrs.NOTHING]
        found["required"] = needed
    return found


def _may_lack(kind: type) -> frozenset[str]:
    """Return the members that JSON of a class may lack."""
    if is_typeddict(kind):
        return kind.__optional_keys__
    unset = {one.name for one in attrs.fields(kind) if one.default is msgspec.UNSET}
    return frozenset(unset | _MAY_LACK.get(kind, set[str]()))


def _arguments(kind: type) -> dict[str, str]:
    """Return {member: what it is}, with those of the classes that a class extends."""
    found: dict[str, str] = {}
    if is_typeddict(kind):
        for one in _extended(kind):
            found |= _noted(one)
        return found
    for one in kind.__mro__:
        for name, text in _noted(one).items():
            found.setdefault(name, text)
    return found


def _extended(kind: type) -> Iterable[type]:
    """Return the classes that a `TypedDict` extends, and the class itself as the last one.

    A `TypedDict` does not know what it extends: it is what has fewer of its members.
    """
    beside = vars(sys.modules[kind.__module__]).values()
    members = kind.__annotations__.items()
    found = [one for one in beside if is_typeddict(one) and one.__annotations__.items() <= members]
    return sorted(found, key=lambda one: (one is kind, len(one.__annotations__)))


def _noted(kind: type) -> dict[str, str]:
    """Return {member: what it is} of the docstring of a class."""
    doc = inspect.cleandoc(kind.__doc__ or "") if _is_described(kind) else ""
    return {name: _text(text) for name, text in _ARGUMENT.findall(doc)}


def _about(kind: type) -> str:
    """Return what a docstring says before the arguments."""
    return _text((inspect.getdoc(kind) or "").partition("\n\nArgs:")[0])


def _text(words: str) -> str:
    """Return words of a docstring on one line, as readers of JSON know them."""
    plain = _RULE.sub("", " ".join(words.split())).replace("``", "`")
    return re.sub(r"\bNone\b", "null", plain)


def _shown(name: str, member: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a member: without its default, and with the format of an amount."""
    if name.endswith("_usd") and "anyOf" in member:
        return {"anyOf": [_shown(name, one) for one in member["anyOf"]]}
    if name.endswith("_usd") and member.get("type") == "string":
        return {"type": "string", "format": "decimal"}
    return {key: value for key, value in member.items() if key != "default"}


def _is_described(kind: type) -> bool:
    return attrs.has(kind) or is_typeddict(kind)


def _classes_of(kinds: Iterable[object]) -> set[type]:
    """Return the classes with members among types, and those of their members."""
    found, left = set[type](), list(kinds)
    while left:  # a class may contain itself
        kind = left.pop()
        if isinstance(kind, type) and _is_described(kind) and kind not in found:
            found.add(kind)
            left += get_type_hints(kind).values()
        left += get_args(kind)
    return found


# ----------------------------------------------------------------------------- the settings file

_NAME, _NAMES = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
_NAME_OR_NAMES = {"anyOf": [_NAME, _NAMES]}
_SCALARS: dict[object, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string", "minLength": 1},
    Decimal: {"anyOf": [{"type": "number"}, {"type": "string"}]},
}
_LATER: dict[tuple[type, str], Any] = {
    (EndpointTable, "limits"): Limits,
    (GatewayTable, "listen"): _NAME_OR_NAMES,
    (ModelTable, "endpoint"): _NAME_OR_NAMES,
}
"""{(class, field): what a file has for a field whose annotation is `object`}."""


class _Settings:
    """The schema of a settings file, by the rules of `callsheet.config.tables`."""

    def __init__(self) -> None:
        self._defs: dict[str, Any] = {}

    def schema(self) -> dict[str, Any]:
        """Return the schema."""
        settings = _arguments(TroupeSettings)
        model = {"anyOf": [_NAME, _NAMES, self._value(ModelTable)]}
        members = {
            "endpoint": {"description": "the endpoint to use, or several as a pool."}
            | _NAME_OR_NAMES,
            "endpoints": {"description": "the endpoints by their names."}
            | self._value(Mapping[str, EndpointTable]),
            "models": {"description": "the models of a gateway, with the endpoint of each."}
            | {"type": "object", "additionalProperties": model},
        }
        tables = {"shared": SharedTable, "gateway": GatewayTable, "keys": KeysTable}
        for name, hint in {**SECTIONS, **tables}.items():
            text = _about(tables[name]) if name in tables else settings[name]
            if name in ("prices", "recipe"):
                text = f"the path of a file: {text}"
            members[name] = {"description": _for_a_file(text)} | self._value(hint)
        return {
            "title": "callsheet.toml",
            "description": "A settings file of Callsheet.",
            "type": "object",
            "properties": members,
            "additionalProperties": False,
            "$defs": self._defs,
        }

    def _value(self, hint: object) -> dict[str, Any]:
        """Return the schema of what a file has for an annotation."""
        if simple := hint if isinstance(hint, dict) else _SCALARS.get(hint):
            return dict(simple)
        origin, inner = get_origin(hint), [it for it in get_args(hint) if it is not NoneType]
        if origin in (Union, UnionType):
            found = self._value(float if len(inner) > 1 else inner[0])
            is_policy = "$ref" in found
            return {"anyOf": [found, {"type": "boolean"}]} if is_policy else found
        if origin is Literal:
            return {"enum": inner}
        if origin is tuple:
            return {"type": "array", "items": self._value(inner[0])}
        if origin is not None:
            return {"type": "object", "additionalProperties": self._value(inner[1])}
        return self._table(cast("type", hint))

    def _table(self, kind: type) -> dict[str, Any]:
        reference = {"$ref": f"#/$defs/{kind.__name__}"}
        if kind.__name__ in self._defs:
            return reference
        self._defs[kind.__name__] = made = dict[str, Any]()
        about, fields = _arguments(kind), attrs.fields_dict(kind)
        hints = settable_fields(kind)
        made |= {
            "description": _about(kind),
            "type": "object",
            "properties": {
                name: {"description": _for_a_file(about[name])}
                | self._value(_LATER.get((kind, name), hint))
                for name, hint in hints.items()
            },
            "required": [name for name in hints if fields[name].default is attrs.NOTHING],
            "additionalProperties": False,
        }
        return reference


def _for_a_file(text: str) -> str:
    """Return a description for a TOML file, which has no null, as the reference has it."""
    return re.sub(r"\bnull\b", "None", text)


if __name__ == "__main__":
    for schema in (*SCHEMAS, *FILES, SETTINGS):
        path_of(schema).write_text(schema_of(schema), encoding="utf-8")
