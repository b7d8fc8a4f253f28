"""The options of `callsheet run` for its input and output, and the check of its files."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click

from ...actors import Json, TroupeMeter, why_not_written
from ...bulk.answer_schema import schema_class
from ...bulk.reading.errors import InputError, cannot_read
from ...bulk.reading.settings import Form, ReadSettings
from ...bulk.report.page import is_report
from ...bulk.row import BadRow, Row
from ...bulk.settings import RETRIED_REASONS, Paths, RetriedReason
from ...bulk.watching.event_log import is_event_log
from ..files import (
    STDIN,
    STDOUT,
    check_extra_files,
    check_ours,
    check_output,
    check_path,
    is_stream,
)
from ..parameters import FiniteRange, SuggestingChoice
from ..sections import option

F = TypeVar("F", bound=Callable[..., Any])
_METRICS = "callsheet.metrics"  # where the context of the command has the address


def _mapping(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, column = value.partition("=")
        if not equals or not (column or name == "id"):
            raise click.BadParameter(f"{value!r} must be NAME=COLUMN, such as id=order_number")
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice")
        found[name] = column
    return found


def _text(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the text, or the content of the file that is named after an @."""
    if value is None or not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            raise click.BadParameter(str(cannot_read(value[1:], error)), param=parameter) from None
        text = f"cannot read {value[1:]}: the file is not UTF-8; save it as UTF-8"
        raise click.BadParameter(text, param=parameter) from None


def _delimiter(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Return the delimiter, which may be written as a word or an escape."""
    names = {"tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
    return names.get(value, value) if value is not None else None


def _schema(
    _: click.Context, parameter: click.Parameter, value: str | None
) -> type[dict[str, Json]] | None:
    """Return the class of the results."""
    if value is None:
        return None
    try:
        return schema_class(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=parameter) from None


def _retry_on(
    _: click.Context, __: click.Parameter, value: str | None
) -> tuple[RetriedReason, ...]:
    """Return the finish reasons of a list."""
    named = {name.strip() for name in (value or "").split(",")} - {""}
    if unknown := sorted(named - set(RETRIED_REASONS)):
        known = ", ".join(RETRIED_REASONS)
        raise click.BadParameter(f"{unknown[0]!r} is none of {known}")
    return tuple(reason for reason in RETRIED_REASONS if reason in named)


def _stream(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """Return the path of a file to write, for which "-" is stdout."""
    return STDOUT if value is not None and str(value) == STDIN else value


def _metrics_module() -> Any:  # noqa: ANN401  # of a module that needs an extra
    return import_module("...metrics", __package__)


def _address(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Check the address of `--metrics`, and that its extra is installed."""
    if value is None:
        return
    try:
        _metrics_module().Metrics(listen=value)
    except (ImportError, ValueError) as error:
        raise click.BadParameter(str(error), ctx, parameter) from None
    ctx.meta[_METRICS] = value


def metrics_of(model: str | None) -> TroupeMeter | None:
    """Return the metrics that the run reports; None without `--metrics`.

    Args:
        model: the model of `--model`, which has a label even if its price is not known.
    """
    address = click.get_current_context().meta.get(_METRICS)
    if address is None:
        return None
    models = () if model is None else (model,)
    meter: TroupeMeter = _metrics_module().Metrics(listen=address, models=models)
    return meter


async def check_metrics_address() -> None:
    """Listen at the address of `--metrics` for a moment, before the run makes any file.

    Raises:
        CannotServe: nothing can listen there.
    """
    address = click.get_current_context().meta.get(_METRICS)
    if address is not None:
        from ...serving import Listen, check_address  # noqa: PLC0415  # loads a server

        await check_address(Listen.parse(address))


def cannot_serve() -> tuple[type[Exception], ...]:
    """Return the error of an address of `--metrics` at which nothing can listen; () without it."""
    if _METRICS not in click.get_current_context().meta:
        return ()
    return (_metrics_module().CannotServe,)


metrics_option = option(
    "--metrics",
    section="Output",
    metavar="ADDRESS",
    callback=_address,
    expose_value=False,
    help="Serve metrics for Prometheus at this address during the run, such as 127.0.0.1:9464. "
    "docs/observability.md lists them.",
)

retry_on_option = option(
    "--retry-on",
    section="Cost",
    metavar="REASONS",
    callback=_retry_on,
    help="Send rows once more whose response ended by length, by content_filter, or both as a "
    "list: responses of earlier runs, and of this one. Each call is paid for.",
)

_in = partial(option, section="Input")
_OPTIONS = (
    _in(
        "--format",
        "form",
        type=SuggestingChoice(["auto", "jsonl", "csv", "parquet", "xlsx"]),
        default="auto",
        show_default=True,
        help="The format of INPUT. jsonl: JSON Lines, or JSON over several lines. auto: by its "
        "first bytes, its file name, or its content.",
    ),
    _in(
        "--template",
        metavar="TEXT",
        callback=_text,
        help="A Jinja2 template of the prompt, over the columns of a row; @FILE reads it from a "
        "file.",
    ),
    _in(
        "--system",
        metavar="TEXT",
        callback=_text,
        help="A Jinja2 template of the system message; or @FILE.",
    ),
    _in(
        "--map",
        "fields",
        metavar="NAME=COLUMN",
        multiple=True,
        callback=_mapping,
        help="The column that has the id, prompt, messages, system, model, max_tokens or "
        "temperature of a row. Can be repeated. id= numbers the rows although a column "
        "is called id.",
    ),
    _in(
        "--delimiter",
        metavar="CHAR",
        callback=_delimiter,
        help="The character between the fields of CSV; tab for a tab. Default: detected.",
    ),
    _in(
        "--encoding",
        metavar="NAME",
        help="The encoding of CSV or JSON, such as windows-1252. Default: detected.",
    ),
    _in("--sheet", metavar="NAME", help="The sheet of a workbook. Default: the first one."),
    _in(
        "--max-tokens",
        type=click.IntRange(1),
        metavar="N",
        help="The max_tokens of rows that set none.",
    ),
    _in(
        "--temperature",
        type=FiniteRange(0, 2),
        metavar="T",
        help="The temperature of rows that set none.",
    ),
    _in(
        "--schema",
        metavar="FIELDS",
        callback=_schema,
        help="The fields of each response, such as 'label: positive|negative|neutral, score: "
        "0..1'; or a JSON schema, as text or as FILE.json. If a response does not match, the "
        "request is sent once more.",
    ),
    _in(
        "--cacheable",
        is_flag=True,
        help="Let rows with the same request share one response.",
    ),
    _in(
        "--max-line-bytes",
        type=click.IntRange(1),
        default=16 * 1024**2,
        show_default=True,
        metavar="BYTES",
        help="The maximum length of a line of JSON Lines or CSV. A longer line is listed as an "
        "error and skipped.",
    ),
    _in("--strict", is_flag=True, help="Stop at the first row that is not a valid request."),
)


_out = partial(option, section="Output")
_OUTPUT_OPTIONS = (
    _out(
        "--unordered",
        is_flag=True,
        help="Write responses as they arrive, not in the order of INPUT.",
    ),
    _out(
        "--window",
        type=click.IntRange(1),
        default=10_000,
        show_default=True,
        metavar="ROWS",
        help="The maximum number of rows that are read but not yet written.",
    ),
    _out(
        "--fsync",
        type=SuggestingChoice(["full", "normal", "off"]),
        default="full",
        show_default=True,
        help="full: responses survive a power failure. normal: a power failure may lose the latest "
        "ones. off: the operating system decides when they reach the disk.",
    ),
    _out(
        "--keep/--no-keep",
        default=True,
        show_default=True,
        help="Keep OUTPUT.callsheet after the last row, so that a longer INPUT sends only new "
        "rows.",
    ),
    _out(
        "--events",
        metavar="FILE",
        type=click.Path(dir_okay=False, readable=False, path_type=Path),
        callback=_stream,
        help="Write the outcome of each row to this file, as JSON Lines; - is stdout.",
    ),
    _out(
        "--report",
        "page",
        metavar="FILE.html",
        type=click.Path(dir_okay=False, readable=False, path_type=Path),
        callback=_stream,
        help="Write a page about the run when it ends. The plots on it need Matplotlib.",
    ),
    _out(
        "--inspect",
        metavar="PATH",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Open a socket at PATH, through which 'callsheet top PATH' shows the run.",
    ),
    _out(
        "--json",
        "as_json",
        is_flag=True,
        help="Write a summary of the run to stdout as JSON, however it ends.",
    ),
)


def read_options(command: F) -> F:
    """Add the options of the input to a command."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


def output_options(command: F) -> F:
    """Add the options of what a run writes to a command."""
    for one in reversed(_OUTPUT_OPTIONS):
        command = one(command)
    return command


def read_settings(
    *,
    model: str | None,
    chat_model: str | None,
    form: Form,
    template: str | None,
    system: str | None,
    fields: dict[str, str],
    delimiter: str | None,
    encoding: str | None,
    sheet: str | None,
    max_tokens: int | None,
    temperature: float | None,
    returns: type[object] | None,
    cacheable: bool,
    max_line_bytes: int,
    carries_columns: bool,
) -> ReadSettings:
    """Make settings of the options.

    Raises:
        click.UsageError: an option is invalid, or two of them exclude each other.
    """
    try:
        return ReadSettings(
            model=model,
            chat_model=chat_model,
            form=form,
            template=template,
            system=system,
            fields=fields,
            delimiter=delimiter,
            encoding=encoding,
            sheet=sheet,
            max_tokens=max_tokens,
            temperature=temperature,
            returns=returns,
            cacheable=cacheable,
            max_line_bytes=max_line_bytes,
            carries_columns=carries_columns,
        )
    except (ValueError, TypeError) as error:
        name, _, reason = str(error).partition(": ")
        known = {"fields": "--map", "template": "--template", "system": "--system"}
        if name in known:
            raise click.UsageError(f"{known[name]}: {reason}") from None
        raise click.UsageError(str(error)) from None


def strictly(rows: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
    """Yield the rows before the first bad one.

    Raises:
        InputError: a row is not a valid request.
    """
    for row in rows:
        if isinstance(row, BadRow):
            raise InputError(f"row {row.number}: {row.reason} (--strict)")
        yield row


def check_files(
    source: str,
    output: Path,
    *,
    read: dict[str, Path | None],
    ledger: Path | None,
    events: Path | None,
    page: Path | None,
) -> None:
    """Check that the files of the run are different ones, and overwrite no other program's.

    Args:
        source: the path of the input; "-" for standard input.
        output: OUTPUT of the run.
        read: the files that options make the run read, by option.
        ledger: the file of the ledger; None for none.
        events: the file of the events; None for none.
        page: the file of the report; None for none.

    Raises:
        click.UsageError: they are not.
    """
    check_path("OUTPUT", output)
    paths = Paths(output)
    written = {
        "OUTPUT": output,
        **{
            f"OUTPUT{path.name.removeprefix(output.name)}": path
            for path in (paths.errors, paths.store, paths.batches, paths.reserve, paths.rows)
        },
    }
    for name, path in written.items():
        check_path(name, path)
    check_output(output, written, source)
    inputs = {"INPUT": None if source == STDIN else Path(source)}
    check_extra_files({"--events": events, "--report": page}, inputs | written | read, ledger)
    check_ours("--events", events, is_event_log)
    check_ours("--report", page, is_report)
    if page is not None and not is_stream(page):
        _check_page(page)


def _check_page(page: Path) -> None:
    if page.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"--report: {page} must end in .html")
    is_new = not page.exists()
    try:  # before the run: afterwards no page can be made of it
        os.close(os.open(page, os.O_WRONLY | os.O_CREAT, 0o666))
    except OSError as error:
        why = why_not_written(error)
        raise click.UsageError(f"--report: cannot write {page}: {why}") from None
    if is_new:
        page.unlink()
