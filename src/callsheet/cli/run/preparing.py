"""What `callsheet run` checks and counts before anything is sent."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from ...actors import Limits
from ...bulk.files.place import why_not_named
from ...bulk.reading.opening import count_rows, is_file, open_rows
from ...bulk.reading.settings import ReadSettings
from ...bulk.reading.source import FileState
from ...bulk.settings import RunRoute
from ...bulk.tables.shape import check_fits
from ...bulk.tables.table_file import is_table, limits_of
from ...endpoints import BUILTIN, EndpointChoice
from .limits_table import read_limits
from .resume import ResumeCheck

STDIN = "-"


def check_input(source: str, output: Path) -> None:
    """Refuse an OUTPUT that is not written; say that rows are read from a terminal.

    Args:
        source: INPUT, as it was given.
        output: the path of OUTPUT.

    Raises:
        click.UsageError: the name of OUTPUT is that of a packed file or of an old workbook.
    """
    if refused := why_not_named(output):
        raise click.UsageError(f"OUTPUT: {'; '.join(refused)}")
    if source == STDIN and sys.stdin is not None and sys.stdin.isatty():
        click.echo("Reading rows from the terminal; end them with Ctrl-D.", err=True)


def check_route(route: RunRoute, choice: EndpointChoice) -> None:
    """Refuse batches of the built-in provider.

    Args:
        route: how rows are sent.
        choice: the provider of the run.

    Raises:
        click.UsageError: the batches would end with the command.
    """
    if route == "batch" and choice.endpoint is None:
        raise click.UsageError(
            f"--route batch: the {BUILTIN} provider stops when this command ends, and its batches "
            "with it. Run 'callsheet simulate' in another terminal, and add --provider openai "
            "--base-url http://127.0.0.1:8080/v1; or choose --route live"
        )


def limits_of_run(file: Path | None, defaults: Limits) -> Limits:
    """Return the limits of a run, which may be read again while it goes on.

    Args:
        file: the file of `--limits`; None without one.
        defaults: the limits of the other options and of the settings file.

    Raises:
        click.UsageError: the file cannot be used.
    """
    if file is None:
        return defaults
    try:
        return read_limits(file, defaults)
    except ValueError as error:
        raise click.UsageError(f"--limits: {error}") from None


def check_table(
    source: str,
    output: Path,
    reading: ReadSettings,
    state: FileState | None,
    remark: Callable[[str], None],
) -> None:
    """Check that the input fits into OUTPUT, as far as it can be read twice.

    Args:
        source: INPUT, as it was given.
        output: the path of OUTPUT.
        reading: how INPUT is read.
        state: the file that INPUT is; None for another kind of input.
        remark: is called with remarks on the input.

    Raises:
        InputError: the input cannot be read.
        TableTooLarge: it does not fit.
    """
    limits = limits_of(output) if is_table(output) else None
    if limits is not None and limits.rows is not None and Path(source).is_file():
        with open_rows(source, reading, remark, state=state) as rows:
            check_fits(rows, limits)


def rows_to_come(
    source: str,
    reading: ReadSettings,
    state: FileState | None,
    resume: ResumeCheck,
    remark: Callable[[str], None],
) -> int | None:
    """Return the number of rows, after a comparison with the responses of earlier runs.

    Args:
        source: INPUT, as it was given.
        reading: how INPUT is read.
        state: the file that INPUT is; None for another kind of input.
        resume: compares the first rows with those of OUTPUT.
        remark: is called with remarks on the input.

    Raises:
        InputError, BulkRefused: the run should not start.
    """
    found = resume.check_file(reading, state, remark) if is_file(source) else None
    return count_rows(source, reading, state) if found is None else found
