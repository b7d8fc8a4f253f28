"""The settings for reading an input."""

import codecs
import keyword
import re
import shlex
from collections.abc import Mapping
from typing import Literal, cast

import attrs
from attrs.validators import and_, optional

from ...actors import (
    TemplateError,
    ge,
    gt,
    in_,
    instance_of,
    le,
    names_used,
    not_empty,
)

Form = Literal["auto", "jsonl", "csv", "parquet", "xlsx"]

MAPPABLE = ("id", "prompt", "messages", "system", "model", "max_tokens", "temperature")
"""The fields that a column can be mapped to."""

_LONGEST_SHOWN = 200  # characters of a template in an error text
_JINJA_WORDS = {"and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "row"}
_NAME = r"(?:row\.)?([^{}\"'|()\[\]=<>%]*[^{}\"'|()\[\]=<>%\s+\-*/~,.])"
_BARE_NAME = re.compile(
    rf"\{{\{{-?\s*{_NAME}\s*(?:\||-?\}}\}})"  # {{ Review Text }}, {{ Review Text | upper }}
    rf"|\{{%-?\s*(?:el)?if\s+(?:not\s+)?{_NAME}\s*-?%\}}"  # {% if Review Text %}
)


def is_variable(name: str) -> bool:
    """Return whether a column can be named in a template without `row`."""
    return name.isidentifier() and not keyword.iskeyword(name) and name not in _JINJA_WORDS


def place_of(column: str) -> str:
    """Return how a template names a column: by itself, or in `row`."""
    return column if is_variable(column) else f'row["{column}"]'


def option_text(name: str, template: str) -> str:
    """Return an option with a template, as a shell reads it.

    Args:
        name: the name of the option.
        template: the template that is its value.
    """
    quoted = shlex.quote(template) if "'" in template else f"'{template}'"
    return f"--{name} {quoted}"


_is_text = optional(instance_of(str))


def _is_template(_: object, field: "attrs.Attribute[str | None]", value: str | None) -> None:
    if value is None:
        return
    _is_text(None, field, value)
    try:
        names_used(value)
    except TemplateError as error:
        reason = str(error).rstrip(".")
        raise ValueError(f"{field.name}: {reason}{_quoted_column(field.name, value)}") from None


def _quoted_column(option: str, template: str) -> str:
    """Return the remedy for the first name of a column that is not quoted; "" for none."""
    for found in _BARE_NAME.finditer(template):
        name = found[1] or found[2]
        if is_variable(name) or not (" " in name or name[:1].isdecimal()) or name.isdecimal():
            continue
        if found[1] or not _JINJA_WORDS & set(name.split()):
            place = f'row["{name}"]'
            shown = f"{{{{ {place} }}}}" if found[1] else place
            whole = whole_option(option, _BARE_NAME.sub(_with_place, template))
            return f"; write {shown} for a column of that name{whole}"
    return ""


def _with_place(found: re.Match[str]) -> str:
    name = found[1] or found[2]
    written = re.compile(rf"(?:row\.)?{re.escape(name)}")
    return written.sub(lambda _: place_of(name), found[0], count=1)


def whole_option(option: str, template: str) -> str:
    """Return the end of a remedy: the option to type; "" if it is too long, or would be wrong.

    Args:
        option: the name of the option.
        template: its corrected value.
    """
    if len(template) > _LONGEST_SHOWN or "\n" in template:
        return ""
    try:
        names_used(template)
    except TemplateError:
        return ""
    return f": {option_text(option, template)}"


def _is_encoding(_: object, field: "attrs.Attribute[str | None]", value: str | None) -> None:
    if value is None:
        return
    _is_text(None, field, value)
    try:
        codecs.getincrementaldecoder(value)
        "".encode(value)
    except (LookupError, UnicodeError, ValueError, AssertionError):
        known = "such as windows-1252, mac-roman, shift-jis, gb18030 or utf-16"
        raise ValueError(f"encoding must be the name of one, {known}, not {value!r}") from None


def _is_map(settings: "ReadSettings", _: object, fields: Mapping[str, str]) -> None:
    if not isinstance(cast("object", fields), Mapping):
        raise TypeError(f"fields must be a mapping, not {fields!r:.60}")
    for name, column in fields.items():
        if name not in MAPPABLE:
            raise ValueError(f"fields: {name!r} must be one of {', '.join(MAPPABLE)}")
        if not column and name != "id":
            raise ValueError(f"fields: {name!r} needs the name of a column")
    template, system = settings.template, settings.system
    for name, other, rival in (
        ("prompt", "template", template),
        ("messages", "template", template),
        ("messages", "prompt", fields.get("prompt")),
        ("system", "system", system),
    ):
        if name in fields and rival is not None:
            raise ValueError(f"fields: {name!r} is mapped, but {other} is set too; use one of them")


def _is_delimiter(_: object, __: object, value: str | None) -> None:
    if value is None:
        return
    if not isinstance(cast("object", value), str) or len(value) != 1 or value in '"\r\n':
        raise ValueError(f"delimiter must be one character other than a quote, not {value!r}")


_whole = and_(instance_of(int), gt(0))


@attrs.frozen(kw_only=True)
class ReadSettings:
    """How to read an input, and the defaults of its requests.

    Args:
        form: the format: "jsonl" for JSON of any kind, "csv", "parquet" or "xlsx"; "auto" decides
            by the first bytes, the name, or the content.
        model: the model of rows that name none.
        chat_model: the model of chats and completions that name none, if `model` is None: a usual
            model is no model of embeddings.
        max_tokens: the maximum of output tokens for chats and completions that set none.
        temperature: the temperature, 0 to 2, for chats and completions that set none.
        template: a Jinja2 template over the columns of a row; it makes the prompt.
        system: a Jinja2 template over the columns of a row; it makes the system message.
        fields: {field: column} for the fields "id", "prompt", "messages", "system", "model",
            "max_tokens" and "temperature"; {"id": ""} numbers the rows although a column is
            called "id".
        returns: the class of the results of chats; None for text.
        cacheable: as in `Request`, for every row.
        packable: as in `Request`, for every row.
        deadline: seconds, as in `Request`, for every row.
        delimiter: the character between the fields of CSV; None to find it.
        encoding: the encoding of JSON Lines or CSV, as Python names it; None to find it.
        sheet: the name of the sheet of a workbook; None for the first one.
        carries_columns: True to keep the values of each record with its row, for a table.
        max_line_bytes: the maximum length of a line in bytes; a longer line is a bad row, and is
            skipped without being held in memory.

    Raises:
        ValueError, TypeError: a value is out of range; the text names the field.
    """

    form: Form = attrs.field(
        default="auto", validator=in_(("auto", "jsonl", "csv", "parquet", "xlsx"))
    )
    model: str | None = attrs.field(
        default=None, validator=optional(and_(instance_of(str), not_empty))
    )
    chat_model: str | None = attrs.field(
        default=None, validator=optional(and_(instance_of(str), not_empty))
    )
    max_tokens: int | None = attrs.field(default=None, validator=optional(_whole))
    temperature: float | None = attrs.field(default=None, validator=optional(and_(ge(0), le(2))))
    template: str | None = attrs.field(default=None, validator=_is_template)
    system: str | None = attrs.field(default=None, validator=_is_template)
    fields: Mapping[str, str] = attrs.field(factory=dict[str, str], validator=_is_map)
    returns: type[object] | None = attrs.field(default=None, validator=optional(instance_of(type)))
    cacheable: bool = attrs.field(default=False, validator=instance_of(bool))
    packable: bool = attrs.field(default=False, validator=instance_of(bool))
    deadline: float | None = attrs.field(default=None, validator=optional(gt(0)))
    delimiter: str | None = attrs.field(default=None, validator=_is_delimiter)
    carries_columns: bool = attrs.field(default=False, validator=instance_of(bool))
    encoding: str | None = attrs.field(default=None, validator=_is_encoding)
    sheet: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    max_line_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=_whole)

    @property
    def is_of_columns(self) -> bool:
        """Whether a JSON object is a row of columns rather than a body."""
        return self.template is not None or any(name != "id" for name in self.fields)
