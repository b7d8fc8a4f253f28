"""The options of `callsheet run` that say how its input is read.

Which files `callsheet run` may write beside OUTPUT: none that it, or anybody, still needs.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ...bulk.reading.errors import InputError
from ...bulk.reading.settings import Form, ReadSettings
from ...bulk.row import BadRow, Row

__all__ = [
    "check_extra_files",
    "read_options",
    "read_settings",
    "strictly",
]


F = TypeVar("F", bound=Callable[..., Any])


def _mapping(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, column = value.partition("=")
        if not equals or not column:
            raise click.BadParameter(f"{value!r} must be NAME=COLUMN, such as id=order_number")
        if name in found:
            raise click.BadParameter(f"{name!r} is there twice")
        found[name] = column
    return found


def _text(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A text, or with @ before it the name of a file that has it."""
    if value is None or not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise click.BadParameter(f"cannot read {value[1:]}: {reason}", param=parameter) from None


_OPTIONS = (
    click.option(
        "--format",
        "form",
        type=click.Choice(["auto", "jsonl", "csv", "parquet"]),
        default="auto",
        show_default=True,
        help="What INPUT is; auto goes by its name, and else by its content.",
    ),
    click.option(
        "--template",
        metavar="TEXT",
        callback=_text,
        help="A Jinja2 template over the columns of a row, which makes its prompt; @FILE reads it.",
    ),
    click.option(
        "--system", metavar="TEXT", callback=_text, help="One that makes the system turn; or @FILE."
    ),
    click.option(
        "--map",
        "fields",
        metavar="NAME=COLUMN",
        multiple=True,
        callback=_mapping,
        help="Which column is the id, prompt, system, model, max_tokens or temperature of a row.",
    ),
    click.option("--delimiter", metavar="CHAR", help="Between the fields of CSV."),
    click.option(
        "--max-tokens", type=click.IntRange(1), metavar="N", help="For rows that set none."
    ),
    click.option(
        "--temperature", type=click.FloatRange(0, 2), metavar="T", help="For rows that set none."
    ),
    click.option(
        "--cacheable",
        is_flag=True,
        help="Rows that ask for the same may share an answer: one under way, or one of the latest.",
    ),
    click.option(
        "--max-line-bytes",
        type=click.IntRange(1),
        default=16 * 1024**2,
        show_default=True,
        metavar="N",
        help="Of JSON Lines and CSV; a longer line is told of and passed over.",
    ),
    click.option("--strict", is_flag=True, help="End at the first line that is no request."),
)


def read_options(command: F) -> F:
    """Add them to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_settings(
    *,
    model: str | None,
    form: Form,
    template: str | None,
    system: str | None,
    fields: dict[str, str],
    delimiter: str | None,
    max_tokens: int | None,
    temperature: float | None,
    cacheable: bool,
    max_line_bytes: int,
) -> ReadSettings:
    """What they say.

    Raises:
        click.UsageError: they make no sense together.
    """
    try:
        return ReadSettings(
            model=model,
            form=form,
            template=template,
            system=system,
            fields=fields,
            delimiter=delimiter,
            max_tokens=max_tokens,
            temperature=temperature,
            cacheable=cacheable,
            max_line_bytes=max_line_bytes,
        )
    except (ValueError, TypeError) as error:
        name, _, reason = str(error).partition(": ")
        known = {"fields": "--map", "template": "--template", "system": "--system"}
        if name in known:
            raise click.UsageError(f"{known[name]}: {reason}") from None
        raise click.UsageError(str(error)) from None


def strictly(rows: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
    """The rows up to the first that is none.

    Raises:
        InputError: there is such a line.
    """
    for row in rows:
        if isinstance(row, BadRow):
            raise InputError(f"row {row.number}: {row.reason} (--strict)")
        yield row


def check_extra_files(extra: Mapping[str, Path | None], taken: Mapping[str, Path | None]) -> None:
    """Refuse before the run what could not be written in it, or would overwrite a file of it.

    Args:
        extra: files that the run writes because an option says so, by that option.
        taken: files that it reads, or writes anyway, by what they are called.

    Raises:
        click.UsageError: a folder is not there, or a file is another one of the run, too, by any
            spelling of its path or a link.
    """
    known = {name: path for name, path in taken.items() if path is not None}
    for option, path in extra.items():
        if path is None:
            continue
        if not path.resolve().parent.is_dir():
            raise click.UsageError(f"{option}: there is no folder {path.parent}")
        for name, other in known.items():
            if _is_same(path, other):
                raise click.UsageError(f"{option}: {path} is {name} already; name another file")
        known[option] = path


def _is_same(path: Path, other: Path) -> bool:
    if path.exists() and not path.is_file():  # a device or a pipe may be shared
        return False
    try:
        return path.samefile(other)
    except OSError:  # one of them is not there yet
        return path.resolve() == other.resolve()
