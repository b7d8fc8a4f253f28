"""Read a row of columns as a chat, from JSON Lines, CSV or Parquet."""

from collections.abc import Mapping

from jinja2 import Environment, UndefinedError, nodes
from jinja2.defaults import DEFAULT_NAMESPACE

from ...actors import ChatMessage, Json, Request, TemplateError, kind_of, names_used, render
from .errors import BadRecord, InputError
from .members import CHAT, stated, take_limit_name, take_schema
from .request_builder import RequestBuilder
from .settings import ReadSettings

# Members of a line beside its prompt: those of a chat, but for names that data may well have.
_PARAMETERS = {
    "frequency_penalty", "logit_bias", "logprobs", "min_p", "parallel_tool_calls",
    "presence_penalty", "reasoning_effort", "repetition_penalty", "response_format",
    "service_tier", "tool_choice", "tools", "top_k", "top_logprobs",
}  # fmt: skip
_OWN = (CHAT.keys() - {"messages"}) | {"system"} | _PARAMETERS
_ROW = "row"  # the whole row in templates, for columns whose name is not a Jinja identifier
_REMEDY = "; set a template, or map the prompt to one of these columns"


class ColumnReader:
    """Reads rows of columns as chats, by a template or by column names.

    Only the columns of the prompt and the id, and those in `ReadSettings.fields`, are read as
    fields; all others are data, whatever their names. But a JSON object with a prompt, and without
    a template, has the members of a chat under their own names (L15).

    Args:
        builder: builds the requests.
        settings: the settings of the input.
    """

    def __init__(self, builder: RequestBuilder, settings: ReadSettings) -> None:
        self._builder = builder
        self._carries_columns = settings.carries_columns
        self._template = settings.template
        self._system = settings.system
        self._fields = dict(settings.fields)
        if settings.template is None:
            self._fields.setdefault("prompt", "prompt")
        self.id_name = self._fields.pop("id", None)

    def needed(self) -> frozenset[str] | None:
        """Return the columns to read besides the usual ids; None for all of them."""
        if self._carries_columns:
            return None
        templates = [text for text in (self._template, self._system) if text is not None]
        used = frozenset[str]().union(*map(names_used, templates))
        if _ROW in used:
            return None
        named = {self.id_name} if self.id_name is not None else set[str]()
        return used | named | set(self._fields.values())

    def check(self, columns: list[str], name: str) -> None:
        """Check that an input has the columns that every row needs.

        Args:
            columns: the names of the columns.
            name: the name of the input, for the error text.

        Raises:
            InputError: a column is missing; the text names it.
        """
        has = f"it has {', '.join(columns)}"
        mapped = {"id": self.id_name, **self._fields}
        for field, column in mapped.items():
            if column is not None and column not in columns:
                remedy = _REMEDY if field == "prompt" else ""
                raise InputError(f'{name} has no column "{column}" for the {field}, {has}{remedy}')
        for field, template in (("template", self._template), ("system", self._system)):
            missing = _demanded(template) - {*columns, _ROW} if template is not None else set[str]()
            if missing:
                raise InputError(f'{name} has no column "{min(missing)}" for the {field}, {has}')

    def request_of_line(self, record: Mapping[str, Json]) -> Request:
        """Return the request of a JSON object, as `request` does for a row of a table.

        Raises:
            BadRecord: a member is missing or has a wrong value; the text names it.
        """
        if self._template is not None:
            return self.request(record)
        mapped = {self.id_name, *self._fields, *self._fields.values()}
        if "max_tokens" in self._fields:
            mapped.add("max_completion_tokens")
        own = {
            name: value
            for name, value in record.items()
            if name in _OWN and name not in mapped and value not in (None, "")
        }
        return self.request(record, own)

    def request(
        self, columns: Mapping[str, object], own: Mapping[str, Json] | None = None
    ) -> Request:
        """Return the request of a row: a chat with one user message, and possibly a system message.

        Args:
            columns: the row as values by the names of the columns.
            own: members of a chat that the row has under their own names.

        Raises:
            BadRecord: a column is missing or has a wrong value; the text names it.
        """
        values = {_ROW: columns, **columns}
        taken = {field: self._taken(columns, column) for field, column in self._fields.items()}
        if self._template is not None:
            prompt = _rendered("template", self._template, values)
        else:
            prompt = _text(self._fields["prompt"], taken.pop("prompt"))
        if not prompt.strip():
            raise BadRecord("the prompt is empty")
        system = ""
        if self._system is not None:
            system = _rendered("system", self._system, values)
        elif "system" in taken:
            system = _text(self._fields["system"], taken.pop("system"))
        elif own:
            system = _text("system", own.get("system"))
        user = ChatMessage("user", prompt)
        fields: dict[str, object] = {
            "messages": (ChatMessage("system", system), user) if system.strip() else (user,)
        }
        if own:
            stated_fields, extra = stated(own, CHAT)
            fields |= stated_fields
            extra.pop("system", None)
            take_limit_name(fields, own)
            take_schema(fields, extra)
            if extra:
                fields["extra_body"] = extra
        for field, value in taken.items():
            if value is not None and value != "":
                fields[field] = _read(field, self._fields[field], value)
        return self._builder.request("chat", fields)

    def _taken(self, columns: Mapping[str, object], name: str) -> object:
        if name not in columns:
            raise BadRecord(f'the row has no "{name}"')
        return columns[name]


def _rendered(field: str, template: str, values: Mapping[str, object]) -> str:
    try:
        return render(template, values)
    except TemplateError as error:
        cause = error.__cause__
        if isinstance(cause, UndefinedError):
            raise BadRecord(f"the row lacks a value that the {field} needs: {cause}") from None
        raise BadRecord(f"{field}: {error}") from None


def _demanded(template: str) -> frozenset[str]:
    """Return the names that a template requires: not Jinja's own, and not those it tests for."""
    tree = Environment(autoescape=True).parse(template)  # parsed, never rendered
    asked = {
        node.node.name
        for node in tree.find_all((nodes.Test, nodes.Filter))
        if node.name in ("defined", "undefined", "default", "d")
        and isinstance(node.node, nodes.Name)
    }
    return names_used(template) - asked - DEFAULT_NAMESPACE.keys()


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise BadRecord(f'"{name}" must be a text, not {kind_of(value)}')


def _read(field: str, name: str, value: object) -> object:
    """Read a mapped column; in CSV, numbers are text."""
    if field == "model":
        return _text(name, value)
    number: type[int | float] = int if field == "max_tokens" else float
    try:
        if isinstance(value, str):
            return number(value)
    except ValueError:
        pass
    else:
        if type(value) is int or type(value) is number:
            return value
    wanted = "a whole number" if number is int else "a number"
    raise BadRecord(f'"{name}" must be {wanted}, not {kind_of(value)}')
