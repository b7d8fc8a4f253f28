"""Directives of the reference, whose tables are made from the code: settings, metrics, files.

A field that a class gets later is in the table of the next build.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, cast, get_args, get_origin, get_type_hints

import attrs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes
from sphinx.util.typing import ExtensionMetadata

from callsheet.actors import CallEvent
from callsheet.config.endpoints import EndpointTable
from callsheet.config.settings import SECTIONS
from callsheet.config.tables import settable_fields
from callsheet.gateway.file import GATEWAY_TABLES, ModelTable
from callsheet.metrics.families import FAMILIES

_READ_LATER = "see the meaning"  # of a member that takes several kinds of values
_ARGUMENT = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def notes_of(kind: type[object]) -> dict[str, str]:
    """Return what the docstring of a class says of each argument, in one line each."""
    text = inspect.cleandoc(kind.__doc__ or "")
    _, _, arguments = text.partition("\nArgs:\n")
    arguments = re.split(r"\n\w+:\n", arguments)[0]
    return {name: " ".join(note.split()) for name, note in _ARGUMENT.findall(arguments)}


def kind_of(hint: object) -> str:
    """Return the values that an annotation allows, as the author of a TOML file needs them."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(kind_of(one) for one in arguments if one is not NoneType)
    if origin is Literal:
        return ", ".join(f'`"{one}"`' for one in arguments)
    if origin is tuple:
        return f"array: {kind_of(arguments[0])}"
    if origin is not None:
        return f"table: {kind_of(arguments[1])}"
    names = {
        object: _READ_LATER,
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true` or `false`",
    }
    if isinstance(hint, type) and attrs.has(hint):
        return f"table (`{hint.__name__}`)"
    return names.get(cast("type", hint), getattr(hint, "__name__", str(hint)).lower())


def default_of(field: "attrs.Attribute[object]") -> str:
    """Return the default of a field as a file spells it; "" for none, or a computed one."""
    value = field.default
    if value is attrs.NOTHING:
        return "required"
    match value:
        case bool():
            spelled = str(value).lower()
        case int():
            spelled = f"{value:_}"
        case float():
            spelled = f"{value:g}"
        case str() | tuple():
            spelled = json.dumps(value) if value else ""
        case _:
            spelled = ""
    return spelled and f"`{spelled}`"


def classes_of(hint: object) -> Iterable[type[object]]:
    """Yield the attrs classes that an annotation names."""
    if isinstance(hint, type) and attrs.has(hint):
        yield hint
    for one in get_args(hint):
        yield from classes_of(one)


class _Table(SphinxDirective):
    """A directive whose content is Markdown."""

    has_content: ClassVar[bool] = False

    def lines(self) -> Iterable[str]:
        """Yield the lines of the Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.lines())
        return nested_parse_to_nodes(self.state, text, allow_section_headings=True)


class SettingsTables(_Table):
    """The sections of a settings file, each with its fields."""

    def lines(self) -> Iterable[str]:
        """Yield the lines of the Markdown."""
        shown = set[type[object]]()
        for name, hint in SECTIONS.items():
            classes = list(classes_of(hint))
            if not classes:
                continue
            for kind in classes:
                yield from self._section(name, kind, shown)
        yield from self._section("endpoints.NAME", EndpointTable, shown)
        yield "## Single settings"
        yield ""
        yield "| setting | values |"
        yield "| --- | --- |"
        for name, hint in SECTIONS.items():
            if not list(classes_of(hint)):
                yield f"| `{name}` | {kind_of(hint)} |"
        yield ""
        yield "## Of a gateway"
        yield ""
        yield "Only `callsheet serve` and `callsheet keys` read these sections."
        yield ""
        for name, kind in GATEWAY_TABLES.items():
            yield from self._section(name, kind, shown, level="###")
        yield from self._section("models.NAME", ModelTable, shown, level="###")

    def _section(
        self, name: str, kind: type[object], shown: set[type[object]], *, level: str = "##"
    ) -> Iterable[str]:
        """Yield a section, with the tables inside it that are not shown yet."""
        yield f"{level} `[{name}]`"
        yield ""
        yield from self._fields(kind)
        shown.add(kind)
        for inner in self._inner(kind, shown):
            shown.add(inner)
            yield f"Each table of `{inner.__name__}` has:"
            yield ""
            yield from self._fields(inner)

    def _inner(self, kind: type[object], shown: set[type[object]]) -> list[type[object]]:
        found = dict[type[object], None]()
        for hint in settable_fields(kind).values():
            found.update(dict.fromkeys(classes_of(hint)))
        return [one for one in found if one not in shown]

    def _fields(self, kind: type[object]) -> Iterable[str]:
        notes = notes_of(kind)
        fields = attrs.fields_dict(cast("type[attrs.AttrsInstance]", kind))
        yield "| field | values | default | meaning |"
        yield "| --- | --- | --- | --- |"
        for name, hint in settable_fields(kind).items():
            note = notes.get(name, "").replace("|", "\\|").replace("``", "`")
            default = default_of(fields[name])
            yield f"| `{name}` | {kind_of(hint)} | {default} | {note} |"
        yield ""


class MetricTable(_Table):
    """Every metric that Prometheus scrapes."""

    def lines(self) -> Iterable[str]:
        """Yield the lines of the Markdown."""
        yield "| metric | kind | labels | meaning |"
        yield "| --- | --- | --- | --- |"
        for one in FAMILIES.values():
            labels = ", ".join(f"`{label}`" for label in one.labels)
            yield f"| `{one.exported_name}` | {one.kind} | {labels} | {one.help} |"
        yield ""


class NamesTable(_Table):
    """The names that a package exports from others, each with the first sentence about it."""

    required_arguments: ClassVar[int] = 1

    def lines(self) -> Iterable[str]:
        """Yield the lines of the Markdown."""
        package = import_module(self.arguments[0])
        yield "| name | |"
        yield "| --- | --- |"
        for name in package.__all__:
            value = getattr(package, name)
            for other in ("callsheet.actors", "callsheet.runtime"):
                if name in import_module(other).__all__:
                    about = inspect.getdoc(value) or ""
                    first = " ".join(about.split("\n\n")[0].split()).replace("|", "\\|")
                    yield f"| {{py:obj}}`{name} <{other}.{name}>` | {first} |"
                    break
        yield ""


class Aliases(_Table):
    """The types and constants that a package exports, which autodoc leaves out."""

    required_arguments: ClassVar[int] = 1

    def lines(self) -> Iterable[str]:
        """Yield the lines of the Markdown."""
        package = import_module(self.arguments[0])
        values = {name: getattr(package, name) for name in package.__all__}  # loads their modules
        notes = dict[str, str]()
        for module in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
            with suppress(PycodeError):
                found = ModuleAnalyzer.for_module(module).find_attr_docs()
                notes |= {
                    name: " ".join(text) for (owner, name), text in found.items() if not owner
                }
        yield "```{eval-rst}"
        yield f".. py:currentmodule:: {package.__name__}"
        yield ""
        for name, value in values.items():
            if inspect.isclass(value) or inspect.isroutine(value):
                continue
            yield f".. py:data:: {name}"
            if get_origin(value) is Literal:
                yield f"   :value: {' | '.join(map(repr, get_args(value)))}"
            elif isinstance(value, (int, tuple)):
                yield f"   :value: {value!r}"
            yield ""
            yield f"   {notes.get(name, '')}"
            yield ""
        yield "```"


class EventTable(_Table):
    """The fields of the event of a call."""

    def lines(self) -> Iterable[str]:
        """Yield the lines of the Markdown."""
        notes, hints = notes_of(CallEvent), get_type_hints(CallEvent)
        yield "| field | type | meaning |"
        yield "| --- | --- | --- |"
        for name, note in notes.items():
            hint = inspect.formatannotation(hints[name]).replace("|", "\\|")
            yield f"| `{name}` | `{hint}` | {note.replace('|', chr(92) + '|')} |"
        yield ""


class SchemaTables(_Table):
    """The members of every output and file that has a JSON schema."""

    def lines(self) -> Iterable[str]:
        """Yield the lines of the Markdown."""
        for path in sorted((Path(__file__).parent / "schemas").iterdir()):
            self.env.note_dependency(str(path))
            if path.name == "settings.schema.json":  # `SettingsTables` has these
                continue
            schema = json.loads(path.read_text(encoding="utf-8"))
            yield f"## {path.name.removesuffix('.schema.json')}"
            yield ""
            for name, kind in schema["$defs"].items():
                yield f"`{name}`: {_cell(kind['description'])}"
                yield ""
                yield from self._members(kind)

    def _members(self, kind: Mapping[str, Any]) -> Iterable[str]:
        yield "| member | value | meaning |"
        yield "| --- | --- | --- |"
        for name, member in kind["properties"].items():
            absent = "" if name in kind["required"] else " (may be absent)"
            yield f"| `{name}`{absent} | {value_of(member)} | {_cell(member['description'])} |"
        yield ""


def value_of(schema: Mapping[str, Any]) -> str:
    """Return the values that a part of a JSON schema allows, in words."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(value_of(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    if schema.get("format") == "decimal":
        return "decimal text"
    kind = schema.get("type", "any value")
    for part, words in (("items", "list of"), ("additionalProperties", "object of")):
        if part in schema:
            return f"{words} {value_of(schema[part])}"
    return {"string": "text", "integer": "whole number", "null": "`null`"}.get(kind, kind)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_ELSEWHERE = {"deploy/README.md": "reference/deploy.md", "README.md": "index.md"}


def lead_inside(_: Sphinx, page: str, source: list[str]) -> None:
    """Let links to pages outside the folder lead to their copies on the site."""
    up = "../" * page.count("/")
    for outside, inside in _ELSEWHERE.items():
        source[0] = source[0].replace(f"](../{up}{outside}", f"]({up}{inside}")


_PATH = re.compile(r"~[\w.]+\.(\w+)")


def shorten_types(_: Sphinx, document: nodes.document) -> None:
    """Write the name of a class alone where Sphinx leaves its path, as after a `Literal`."""
    for text in list(document.findall(nodes.Text)):
        if _PATH.search(text):
            text.parent.replace(text, nodes.Text(_PATH.sub(r"\1", text)))


def mark_programs(
    _: Sphinx, _what: str, _name: str, _value: object, _options: object, lines: list[str]
) -> None:
    """Let what a docstring indents after a paragraph be a program."""
    for number in reversed(range(1, len(lines))):
        before = next((line for line in reversed(lines[:number]) if line.strip()), "")
        if (
            lines[number].startswith("    ")
            and not lines[number - 1].strip()
            and before
            and not before.startswith((" ", "- ", "* ", ".. "))
            and not before.endswith("::")
        ):
            lines[number:number] = ["::", ""]


_DEFAULT = re.compile(r"attr_dict\['(\w+)'\]\.default")


def show_defaults(
    _: Sphinx, _what: str, _name: str, value: object, _options: object, given: str, returns: str
) -> tuple[str, str] | None:
    """Write the defaults of a class that attrs made, and not how attrs finds them."""
    if not given or not isinstance(value, type) or not attrs.has(value):
        return None
    fields = attrs.fields_dict(value)

    def shown(found: re.Match[str]) -> str:
        default = fields[found[1]].default
        return getattr(default, "__name__", repr(default))

    return _DEFAULT.sub(shown, given).replace("=NOTHING", "=..."), returns


def set_dashes(_: Sphinx, page: nodes.document) -> None:
    """Set the dash between a parameter and its description, which Sphinx writes as two hyphens."""
    for text in list(page.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives with Sphinx."""
    directives: Mapping[str, type[_Table]] = {
        "settings-tables": SettingsTables,
        "event-table": EventTable,
        "metric-table": MetricTable,
        "names-table": NamesTable,
        "schema-tables": SchemaTables,
        "aliases": Aliases,
    }
    for name, directive in directives.items():
        app.add_directive(name, directive)
    app.setup_extension("sphinx.ext.autodoc")  # whose event is connected below
    app.connect("source-read", lead_inside)
    app.connect("autodoc-process-signature", show_defaults)
    app.connect("doctree-read", shorten_types)
    app.connect("autodoc-process-docstring", mark_programs, priority=100)  # before napoleon
    app.connect("doctree-read", set_dashes)
    return {"parallel_read_safe": True}
