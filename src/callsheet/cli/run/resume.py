"""Say what resuming a run will send, and ask before most of it would be paid for again."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import final

import attrs
import click

from ...actors import PriceBook, Vendor
from ...bulk.errors import BulkRefused
from ...bulk.files.known import InputComparison, KnownKeys, RowComparer, open_known
from ...bulk.forecast import Forecast, forecast
from ...bulk.reading.opening import RowsAhead, open_rows
from ...bulk.reading.settings import ReadSettings
from ...bulk.reading.source import STDIN, FileState
from ...bulk.row import Row
from ...bulk.settings import BulkSettings, Paths
from ...bulk.shared.sharing import naming_how_to_join
from ...wording import dollars, printable
from .report import cheapest_route, rows_in_batches

_LOOKED_AT = 100  # rows of a pipe
_PATIENCE_S = 0.5
_LARGE_BYTES = 32 * 1024**2  # of an input that takes more than a moment to compare


@final
@attrs.frozen
class ResumeCheck:
    """Compares the rows of a run with the responses of earlier runs, before it starts.

    Args:
        source: the path of the input; "-" for standard input.
        output: OUTPUT of the run.
        settings: the settings of the run.
        prices: the prices of models.
        vendor: the vendor of the endpoint.
        provider: the stable name of the provider.
        is_confirmed: True to ask nothing (--yes).
        on_compared: called with how the rows compare, before anything is asked.
    """

    source: str
    output: Path
    settings: BulkSettings
    prices: PriceBook
    vendor: Vendor
    provider: str
    is_confirmed: bool
    on_compared: Callable[[InputComparison, int], None]

    def check_file(
        self, reading: ReadSettings, state: FileState | None, on_remark: Callable[[str], None]
    ) -> int | None:
        """Say what will be sent of an input that can be read twice, and ask if need be.

        Args:
            reading: how to read the input.
            state: what the input was when the run began.
            on_remark: called with what was found out about the input.

        Returns:
            The number of rows of the input; None if there is nothing to compare them with.

        Raises:
            BulkRefused: the run would pay again for most rows, and that is not confirmed.
            InputError: the input cannot be read.
        """
        if not Paths(self.output).store.exists():
            return None
        shared = self.settings.shared
        with naming_how_to_join(shared, self.output), open_known(Paths(self.output).store) as known:
            if not self._has_responses(known):
                return None
            if state is not None and state.was.st_size >= _LARGE_BYTES:
                _print(f"Comparing the rows of INPUT with those of {self.output.name}.")
            with open_rows(self.source, reading, on_remark, state=state) as rows:
                is_pack = self.settings.route == "pack"
                again = self.settings.retry_on
                found = forecast(rows, self.prices, known, retry_on=again, is_detailed=is_pack)
            owner = None if self.settings.pay_again else known.owner
            in_batches = rows_in_batches(self.output, owner)
        self.on_compared(found.comparison, found.again)
        cost = self._cost(found)
        for line in _told(self.output, found, cost, in_batches):
            _print(line)
        self._confirm(found.comparison, "", cost)
        return found.read

    def check_pipe(self, rows: RowsAhead) -> None:
        """Look at the first rows of an input that can be read once, and ask if need be.

        Args:
            rows: the rows of the input.

        Raises:
            BulkRefused: most of these rows would be paid for again, and that is not confirmed.
            InputError: the input cannot be read.
        """
        if not Paths(self.output).store.exists():
            return
        retry_on = self.settings.retry_on
        shared = self.settings.shared
        with naming_how_to_join(shared, self.output), open_known(Paths(self.output).store) as known:
            if not self._has_responses(known):
                return
            looked_at, again = rows.look(_LOOKED_AT, _PATIENCE_S), 0
            with RowComparer(known) as comparer:
                for row in looked_at:
                    if isinstance(row, Row) and comparer.is_known(row) and retry_on:
                        again += known.ended_by(row.key) in retry_on
                found = comparer.result()
        count = len(looked_at)
        _print(
            f"{self.output.name} has {_responses(found.responses)}. INPUT can be read only once, "
            f"so only its first {_rows(count)} {'was' if count == 1 else 'were'} compared with "
            f"them: {found.matched:,} have a response{_again(again)}"
            f"{_changes(found, ', ', ' have changed')}."
        )
        self._confirm(found, f" among the first {count:,}", "")

    def _has_responses(self, known: KnownKeys) -> bool:
        """Return whether there are responses that the run may use."""
        is_same = known.provider in ("", self.provider)
        return known.responses > 0 and (is_same or self.settings.other_provider)

    def _cost(self, found: Forecast) -> str:
        if not found.to_send:
            return ""
        if found.unpriced:
            return f"at an unknown cost (no price of {', '.join(found.unpriced)} is known)"
        return f"for about {dollars(found.usd(cheapest_route(found, self.settings, self.vendor)))}"

    def _confirm(self, found: InputComparison, which: str, cost: str) -> None:
        """Ask whether to pay again for most rows that have had a response.

        Raises:
            BulkRefused: the answer is no, or there is no terminal to ask on.
        """
        if not found.repeats_most or self.is_confirmed:
            return
        again = found.paid_again(which)
        if not self._can_ask():
            raise BulkRefused(
                f"{again}, because they have changed{found.what_changed}",
                "undo the change, give another OUTPUT, or pay again with --yes",
            )
        click.echo(f"{again[0].upper()}{again[1:]}.", err=True)
        if not _is_yes(f"Send them{f' {cost}' if cost else ''}? [y/N] "):
            raise BulkRefused("nothing was sent", "to keep these responses, give another OUTPUT")

    def _can_ask(self) -> bool:
        streams = (sys.stdin, sys.stderr)
        return self.source != STDIN and all(it is not None and it.isatty() for it in streams)


def _is_yes(question: str) -> bool:
    """Ask on the terminal; the end of its input is a no."""
    try:  # Ctrl-C may come as soon as the question is shown
        click.echo(question, nl=False, err=True)
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        click.echo("\nNothing was sent.", err=True)
        raise
    if not line.endswith("\n"):
        click.echo(err=True)
    return line.strip().lower() in ("y", "yes")


def comparison_words(output: Path, found: Forecast) -> str:
    """Return a sentence about the responses of earlier runs, for an input that was read whole.

    Args:
        output: OUTPUT of the run.
        found: the estimate, with how the rows of the input compare with its responses.
    """
    known = found.comparison
    matched = f"{known.matched:,} match rows of INPUT{_again(found.again)}"
    changed = _changes(known, "; ", f" {'has' if known.changed == 1 else 'have'} changed since")
    rest = f"; {known.unmatched:,} of rows that INPUT does not have" if known.unmatched else ""
    return f"{output.name} has {_responses(known.responses)}: {matched}{changed}{rest}."


def _told(output: Path, found: Forecast, cost: str, in_batches: int) -> list[str]:
    """Return the lines about an input that was read to its end."""
    first = comparison_words(output, found)
    if not found.to_send:
        return [first, "No rows need to be sent."]
    known = found.comparison
    counts = ((found.again, "to ask again"), (known.changed, "changed"), (known.new, "new"))
    kinds = ", ".join(f"{count:,} {kind}" for count, kind in counts if count)
    batched = f"; {in_batches:,} are in batches already" if in_batches else ""
    return [first, f"To send: {_rows(found.to_send)} {cost}: {kinds}{batched}."]


def _again(count: int) -> str:
    return f", {count:,} of them to ask again (--retry-on)" if count else ""


def _changes(found: InputComparison, before: str, words: str) -> str:
    return f"{before}{found.changed:,}{words}{found.what_changed}" if found.changed else ""


def _responses(count: int) -> str:
    return "1 response" if count == 1 else f"{count:,} responses"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _print(text: str) -> None:
    click.echo(printable(text), err=True)
