"""The settings for reading an input."""

from collections.abc import Mapping
from typing import Literal

import attrs
from attrs.validators import and_, ge, gt, in_, instance_of, le, min_len, optional

from ...actors import TemplateError, names_used

Form = Literal["auto", "jsonl", "csv", "parquet"]

MAPPABLE = ("id", "prompt", "system", "model", "max_tokens", "temperature")
"""The fields that a column can be mapped to."""


def _is_template(_: object, field: "attrs.Attribute[str | None]", value: str | None) -> None:
    if value is None:
        return
    try:
        names_used(value)
    except TemplateError as error:
        raise ValueError(f"{field.name}: {error}") from None


def _is_map(settings: "ReadSettings", _: object, fields: Mapping[str, str]) -> None:
    for name, column in fields.items():
        if name not in MAPPABLE:
            raise ValueError(f"fields: {name!r} must be one of {', '.join(MAPPABLE)}")
        if not column:
            raise ValueError(f"fields: {name!r} needs the name of a column")
    for name, rival in (("prompt", settings.template), ("system", settings.system)):
        if name in fields and rival is not None:
            other = "template" if name == "prompt" else "system"
            raise ValueError(f"fields: {name!r} is mapped, but {other} is set too; use one of them")


def _is_delimiter(_: object, __: object, value: str | None) -> None:
    if value is not None and (len(value) != 1 or value in '"\r\n'):
        raise ValueError(f"delimiter must be one character other than a quote, not {value!r}")


_whole = and_(instance_of(int), gt(0))


@attrs.frozen(kw_only=True)
class ReadSettings:
    """How to read an input, and the defaults of its requests.

    Args:
        form: the format: "jsonl", "csv" or "parquet"; "auto" decides by the name, else by the
            content.
        model: the model of rows that name none.
        max_tokens: the maximum of output tokens for chats and completions that set none.
        temperature: the temperature, 0 to 2, for chats and completions that set none.
        template: a Jinja2 template over the columns of a row; it makes the prompt.
        system: a Jinja2 template over the columns of a row; it makes the system message.
        fields: {field: column} for the fields "id", "prompt", "system", "model", "max_tokens" and
            "temperature".
        returns: the class of the results of chats; None for text.
        cacheable: as in `Request`, for every row.
        packable: as in `Request`, for every row.
        deadline: seconds, as in `Request`, for every row.
        delimiter: the character between the fields of CSV; None for a comma, or a tab in a .tsv
            file.
        carries_columns: True to keep the values of each record with its row, for a table.
        max_line_bytes: the maximum length of a line in bytes; a longer line is a bad row, and is
            skipped without being held in memory.

    Raises:
        ValueError, TypeError: a value is out of range; the text names the field.
    """

    form: Form = attrs.field(default="auto", validator=in_(("auto", "jsonl", "csv", "parquet")))
    model: str | None = attrs.field(
        default=None, validator=optional(and_(instance_of(str), min_len(1)))
    )
    max_tokens: int | None = attrs.field(default=None, validator=optional(_whole))
    temperature: float | None = attrs.field(default=None, validator=optional(and_(ge(0), le(2))))
    template: str | None = attrs.field(default=None, validator=_is_template)
    system: str | None = attrs.field(default=None, validator=_is_template)
    fields: Mapping[str, str] = attrs.field(factory=dict[str, str], validator=_is_map)
    returns: type[object] | None = attrs.field(default=None, validator=optional(instance_of(type)))
    cacheable: bool = False
    packable: bool = False
    deadline: float | None = attrs.field(default=None, validator=optional(gt(0)))
    delimiter: str | None = attrs.field(default=None, validator=_is_delimiter)
    carries_columns: bool = False
    max_line_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=_whole)

    @property
    def is_of_columns(self) -> bool:
        """Whether a JSON object is a row of columns rather than a body."""
        return self.template is not None or any(name != "id" for name in self.fields)
