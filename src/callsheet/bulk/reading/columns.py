"""Read a row of columns as a chat: a record of a table, or a JSON object."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from difflib import SequenceMatcher
from typing import cast

from jinja2 import Environment, UndefinedError, nodes
from jinja2.defaults import DEFAULT_NAMESPACE

from ...actors import (
    ChatMessage,
    Json,
    Request,
    TemplateError,
    names_used,
    render,
)
from ...bodies import CHAT, take_limit_name, take_schema
from .advice import advice_for, columns_said, likely_text, with_marks
from .bodies import RequestBuilder, ignore_remark, stated
from .cells import chat_of, field_of, text_of
from .errors import BadRecord, InputError
from .identity import USUAL_IDS
from .settings import ReadSettings, place_of, whole_option

# Members of a line beside its prompt: those of a chat, but for names that data may well have.
_PARAMETERS = {
    "frequency_penalty", "logit_bias", "logprobs", "min_p", "parallel_tool_calls",
    "presence_penalty", "reasoning_effort", "repetition_penalty", "response_format",
    "service_tier", "tool_choice", "tools", "top_k", "top_logprobs",
}  # fmt: skip
_OWN = (CHAT.keys() - {"messages"}) | {"system"} | _PARAMETERS
_MAPPED = {
    "model": "model", "system": "system", "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens", "temperature": "temperature",
}  # fmt: skip
"""{column: the field that `--map` can make it}"""
# Of a table, or with a template: a column called "n", "stop" or "seed" is data more often than not.
_NOT_SENT = _MAPPED.keys() | _PARAMETERS | {"top_p"}
_NOT_SENT_BESIDE_PROMPT = {
    "metadata", "modalities", "prediction", "prompt_cache_key", "reasoning", "safety_identifier",
    "store", "thinking", "user", "verbosity", "web_search_options",
}  # fmt: skip
_MARKUP = re.compile(r"\{[{%#]")  # of Jinja
_ROW = "row"  # the whole row in templates, for columns whose name is not a Jinja identifier


class ColumnReader:
    """Reads rows of columns as chats, by a template or by column names.

    Only the columns of the prompt and the id, and those in `ReadSettings.fields`, are read as
    fields; all others are data, whatever their names. But a JSON object with a prompt, and without
    a template, has the members of a chat under their own names (L15).

    Args:
        builder: builds the requests.
        settings: the settings of the input.
        on_remark: called with a sentence, once for each column that is data by the name of a
            parameter, and so is not sent.
        names_options: False to leave the options of the command out of errors.
    """

    def __init__(
        self,
        builder: RequestBuilder,
        settings: ReadSettings,
        on_remark: Callable[[str], None] = ignore_remark,
        *,
        names_options: bool = True,
    ) -> None:
        self._whole_option = whole_option if names_options else _no_option
        self._builder = builder
        self._on_remark = on_remark
        self._carries_columns = settings.carries_columns
        self._template = settings.template
        self._system = settings.system
        self._same_system: str | None = None  # rendered once, if it is the same for each row
        self._fields = dict(settings.fields)
        self._is_usual = settings.template is None and not {"prompt", "messages"} & set(
            self._fields
        )
        if self._is_usual:
            self._fields["prompt"] = "prompt"
        self.id_name = self._fields.pop("id", None)
        self._not_sent = self._named_like_parameters()
        self._constant: str | None = None  # why the template is not one; "" if it is

    @property
    def why_constant(self) -> str:
        """Why the prompts of all rows are the same by mistake; "" if not, or before `check`."""
        return self._constant or ""

    def needed(self) -> frozenset[str] | None:
        """Return the columns to read besides the usual ids; None for all of them."""
        if self._carries_columns:
            return None
        named = {self.id_name} if self.id_name else set[str]()
        for text in (self._template, self._system):
            used = _Used(text or "")
            if used.is_whole:
                return None
            named |= used.columns
        return frozenset(named | set(self._fields.values()))

    def check(
        self, columns: Sequence[str], name: str, first: Mapping[str, object] | None = None
    ) -> None:
        """Check that a table has the columns that every row needs.

        A table with a column `messages`, and none called `prompt`, is one of whole chats.

        Args:
            columns: the names of the columns; "" for one that has none.
            name: the name of the input, for the error text.
            first: the first record, for the advice in the error text.

        Raises:
            InputError: a column is missing, or two have its name; the text names it.
        """
        self._remark_unsent(columns, _NOT_SENT - self._used())
        self._constant = self._why_constant(columns)
        if self._is_usual and "prompt" not in columns and "messages" in columns:
            del self._fields["prompt"]
            self._fields["messages"] = "messages"
        usual_id = next((it for it in USUAL_IDS if it in columns), None)
        id_name = usual_id if self.id_name is None else self.id_name
        for field, column in {"id": id_name, **self._fields}.items():
            if column:
                self._check_one(column, field, columns, name, first)
        for field, template in (("template", self._template), ("system", self._system)):
            for column in sorted(_Used(template or "").required):
                self._check_one(column, field, columns, name, first)

    def _check_one(
        self,
        column: str,
        field: str,
        columns: Sequence[str],
        name: str,
        first: Mapping[str, object] | None,
    ) -> None:
        if columns.count(column) > 1:
            raise InputError(f'{name} has two columns "{column}"; rename one of them')
        if column in columns:
            return
        remedy = ""
        values: Mapping[str, object] = {it: None for it in columns if it} | dict(first or {})
        record = cast("Mapping[str, Json]", values)
        template = {"template": self._template, "system": self._system}.get(field)
        near = next((it for it in columns if _is_near(column, it)), None)
        if field == "prompt" and self._is_usual:
            remedy = f"; {advice_for(record)}"
        elif template is not None:
            if instead := near or likely_text(record):
                whole = self._whole_option(field, _renamed(template, column, instead))
                named = "" if near else f'for the column "{instead}" '
                remedy = f"; {named}write {place_of(instead)}{whole}"
        elif near is not None:
            remedy = f'; its "{near}" has another spelling'
        has = f"it has {columns_said(columns)}"
        raise InputError(f'{name} has no column "{column}" for the {field}, {has}{remedy}')

    def _named_like_parameters(self) -> set[str]:
        """Return the members of a JSON object that are data by the name of a parameter."""
        if self._template is None:
            return _NOT_SENT_BESIDE_PROMPT - self._used()
        return _NOT_SENT - self._used()

    def _used(self) -> set[str]:
        """Return the columns that are sent, also as a part of a prompt."""
        used = {*self._fields.values(), self.id_name or ""}
        for text in (self._template, self._system):
            found = _Used(text or "")
            used |= _NOT_SENT if found.is_whole else found.columns
        return used

    def _remark_unsent(self, columns: Sequence[str], unsent: AbstractSet[str]) -> None:
        """Remark that columns are not sent although they are named like parameters."""
        given = {*self._fields, *(("system",) if self._system is not None else ())}
        free = [it for it in columns if it in unsent and _MAPPED.get(it) not in given]
        mapped = [name for name in free if name in _MAPPED]
        others = [name for name in free if name not in _MAPPED]
        if mapped:
            how = " ".join(f"--map {_MAPPED[name]}={name}" for name in mapped)
            it = "it" if len(mapped) == 1 else "them"
            self._on_remark(f"{_are_data(mapped)}; to send {it}, add {how}.")
        if others:
            self._on_remark(f"{_are_data(others)}; JSON Lines with messages can send it.")

    def request_of_line(self, record: Mapping[str, Json]) -> Request:
        """Return the request of a JSON object, as `request` does for a row of a table.

        Raises:
            BadRecord: a member is missing or has a wrong value; the text names it.
        """
        if not self._not_sent.isdisjoint(record):
            unsent = {name for name in self._not_sent if record.get(name) is not None}
            self._not_sent -= unsent
            self._remark_unsent(list(record), unsent)
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
        if self._constant is None:
            self._constant = self._why_constant(columns)
        if self._constant:
            raise BadRecord(self._constant, is_misfit=True)
        taken = {field: self._taken(columns, column) for field, column in self._fields.items()}
        messages = self._messages(columns, taken, own or {})
        fields: dict[str, object] = {"messages": messages}
        if own:
            stated_fields, extra = stated(own, CHAT)
            fields |= stated_fields
            extra.pop("system", None)
            take_limit_name(fields, own)
            take_schema(fields, extra)
            if extra:
                fields["extra_body"] = extra
        for field, value in taken.items():
            if value is not None and value != "" and value == value:  # noqa: PLR0124  # not NaN
                fields[field] = field_of(field, self._fields[field], value)
        return self._builder.request("chat", fields)

    def _messages(
        self, columns: Mapping[str, object], taken: dict[str, object], own: Mapping[str, Json]
    ) -> tuple[ChatMessage, ...]:
        """Return the chat of a row; its columns are removed from `taken`."""
        values = {_ROW: columns, **columns}
        if "messages" in taken:
            messages = chat_of(self._fields["messages"], cast("Json", taken.pop("messages")))
        else:
            if self._template is not None:
                prompt = _rendered("template", self._template, values)
            else:
                prompt = text_of(self._fields["prompt"], taken.pop("prompt"))
            if not prompt.strip():
                raise BadRecord("the prompt is empty")
            messages = (ChatMessage("user", prompt),)
        if self._system is not None:
            system = self._system_of(self._system, values)
        elif "system" in taken:
            system = text_of(self._fields["system"], taken.pop("system"))
        else:
            system = text_of("system", own.get("system"))
        return (ChatMessage("system", system), *messages) if system.strip() else messages

    def _why_constant(self, columns: Iterable[str]) -> str:
        """Return why the template makes the same prompt of each row by mistake; "" if it does not.

        A remark says so if it may be meant.
        """
        used = [_Used(text) for text in (self._template, self._system) if text is not None]
        if self._template is None or any(it.columns or it.is_whole for it in used):
            return ""
        whole = with_marks(self._template, columns)
        same = "the template uses no column, so all rows would have the same prompt"
        if whole is not None:
            return f"{same}; a column stands in two braces{self._whole_option('template', whole)}"
        self._on_remark("The template uses no column, so all rows have the same prompt.")
        return ""

    def _system_of(self, template: str, values: Mapping[str, object]) -> str:
        if self._same_system is not None:
            return self._same_system
        system = _rendered("system", template, values)
        if not _MARKUP.search(template):
            self._same_system = system
        return system

    def _taken(self, columns: Mapping[str, object], name: str) -> object:
        if name not in columns:
            raise BadRecord(f'the row has no "{name}"', is_misfit=True)
        return columns[name]


def _no_option(option: str, template: str) -> str:  # noqa: ARG001  # as `whole_option`
    return ""


def _rendered(field: str, template: str, values: Mapping[str, object]) -> str:
    try:
        return render(template, values)
    except TemplateError as error:
        cause = error.__cause__
        if isinstance(cause, UndefinedError):
            reason = f"the row lacks a value that the {field} needs: {cause}"
            raise BadRecord(reason, is_misfit=True) from None
        raise BadRecord(f"{field}: {error}") from None


def _renamed(template: str, column: str, instead: str) -> str:
    """Return a template that uses another column."""
    name = re.escape(column)
    used = rf"""row\[\s*(["']){name}\1\s*\]|row\.{name}(?!\w)|(?<![\w."'|]){name}(?![\w"'(=])"""
    in_markup = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
    return in_markup.sub(lambda part: re.sub(used, lambda _: place_of(instead), part[0]), template)


_LIKENESS = 0.85  # of two spellings of one name


class _Used:
    """The columns that a template uses.

    Attributes:
        columns: their names, as variables or in `row["name"]`.
        required: those that a row must have: not Jinja's own names, nor those it tests for.
        is_whole: True if the template uses `row` in another way, and so may use any column.
    """

    def __init__(self, template: str) -> None:
        tree = Environment(autoescape=True).parse(template)  # parsed, never rendered
        tested = {
            _column_of(node.node)
            for node in tree.find_all((nodes.Test, nodes.Filter))
            if node.name in ("defined", "undefined", "default", "d") and node.node is not None
        }
        found = {_column_of(node): node for node in tree.find_all((nodes.Getitem, nodes.Getattr))}
        in_row = {name for name in found if name is not None}
        uses = sum(node.name == _ROW for node in tree.find_all(nodes.Name))
        places = sum(
            _column_of(node) is not None for node in tree.find_all((nodes.Getitem, nodes.Getattr))
        )
        self.columns = (names_used(template) - {_ROW}) | in_row
        self.required = self.columns - tested - DEFAULT_NAMESPACE.keys()
        self.is_whole = uses > places


def _column_of(node: nodes.Node) -> str | None:
    """Return the column that an expression names: `name`, `row["name"]` or `row.name`."""
    if isinstance(node, nodes.Name):
        return node.name
    if not isinstance(node, nodes.Getitem | nodes.Getattr):
        return None
    if not isinstance(node.node, nodes.Name) or node.node.name != _ROW:
        return None
    if isinstance(node, nodes.Getattr):
        return node.attr
    name = node.arg.value if isinstance(node.arg, nodes.Const) else None
    return name if isinstance(name, str) else None


def _are_data(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"The column {names[0]} is data, and is not sent"
    return f"The columns {', '.join(names[:-1])} and {names[-1]} are data, and are not sent"


def _is_near(wanted: str, column: str) -> bool:
    """Return whether a name is another spelling, or a word, of the name of a column."""
    words, others = (re.split(r"[\W_]+", name.casefold()) for name in (column, wanted))
    one, other = " ".join(words).strip(), " ".join(others).strip()
    return other in (one, *words) or SequenceMatcher(None, one, other).ratio() >= _LIKENESS
