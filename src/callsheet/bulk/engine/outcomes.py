"""The outcomes of rows: made when a row ends, and held until they are on disk. Pure (R14)."""

from collections.abc import Callable, Sequence
from typing import final

from ...actors import Response, Spent
from ..files.lines import RowOutcome, answer_line, failure_line, with_spent
from ..progress import RowEnded
from ..row import EarlierAnswer, Placed, with_earlier
from ..shared.pending import AnswerEntries
from ..spending import EarlierRounds
from .queue import RowCall
from .reporting import row_answered

_NOTHING = Spent()


@final
class RowOutcomes:
    """The rows that have ended and are not on disk yet, and what the calls of other rows took.

    Args:
        wall_clock: returns the Unix time in seconds.

    Attributes:
        unkept_bytes: the bytes of the lines of rows that have ended and are not on disk.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self.unkept_bytes = 0
        self._wall_clock = wall_clock
        self._earlier: dict[str, EarlierRounds] = {}  # by custom id
        self._answers: dict[str, tuple[AnswerEntries, ...]] = {}  # by custom id, of a shared run
        self._ended: list[RowOutcome] = []  # not handed to the store yet
        self._unkept: list[RowOutcome] = []  # that the store could not keep
        self._keeping = 0  # messages to the store without a reply

    def __repr__(self) -> str:
        unkept = len(self._ended) + len(self._unkept)
        return f"<RowOutcomes {unkept} to hand to the store, {self._keeping} messages under way>"

    # ---------------------------------------------------------------- made

    def rounds_of(self, custom_id: str) -> int:
        """Return how many rounds of attempts of a row have failed."""
        earlier = self._earlier.get(custom_id)
        return 0 if earlier is None else earlier.rounds

    def note_failure(self, custom_id: str, error: Exception, *, rounds: int = 0) -> None:
        """Note a failed call of a row that is sent again later.

        Args:
            custom_id: the custom id of the row.
            error: the error of the call.
            rounds: 1 if the call was a round of attempts.
        """
        earlier = self._earlier.get(custom_id, EarlierRounds())
        self._earlier[custom_id] = earlier.plus(error, rounds=rounds)

    def note_answers(self, custom_id: str, found: AnswerEntries) -> None:
        """Note the answers that a row of a shared run had from the queue."""
        self._answers[custom_id] = (*self._answers.get(custom_id, ()), found)

    def answered(
        self, placed: Placed, response: Response, now: float, *, is_final: bool
    ) -> EarlierAnswer:
        """Add the outcome of a row with a response.

        Args:
            placed: the row, whose call has ended.
            response: the response to its last call.
            now: the current time, in seconds on Trio's clock.
            is_final: False if the row is asked again.

        Returns:
            The response as the row has it from now on.
        """
        row, before = placed.row, placed.earlier
        if earlier := self._earlier.pop(row.custom_id, None):
            response = earlier.spent.on(response)
        in_run = with_earlier(response, None if before is None else before.in_run)
        response = with_earlier(response, None if before is None else before.response)
        line = answer_line(row, response, int(self._wall_clock()))
        self._add(placed, line, row_answered(row, in_run, now), row.key, is_final=is_final)
        return EarlierAnswer(line, response, in_run)

    def failed(self, call: RowCall, error: Exception, now: float) -> None:
        """Add the outcome of a row whose last call failed: the response that it has, or the error.

        Args:
            call: the call of the row.
            error: the error of the call.
            now: the current time, in seconds on Trio's clock.
        """
        placed, row = call.placed, call.row
        took = self._earlier.pop(row.custom_id, EarlierRounds()).plus(error).spent
        if placed.earlier is not None:
            self.keep_earlier(placed, placed.earlier, now, took)
            return
        event = RowEnded(
            at=now,
            number=row.number,
            custom_id=row.custom_id,
            seconds=now - call.began_at,
            attempts=took.http_requests,
            usage=took.usage,
            cost_usd=took.cost_usd,
            error=type(error).__name__,
            message=str(error),
        )
        self._add(placed, failure_line(row, error, took), event)

    def keep_earlier(
        self, placed: Placed, earlier: EarlierAnswer, now: float, took: Spent = _NOTHING
    ) -> None:
        """Let a row end with the response that it has, which is stored.

        Args:
            placed: the row that was to be asked again.
            earlier: the response that it has.
            now: the current time, in seconds on Trio's clock.
            took: what the calls without a response took, which were made for it since.
        """
        row = placed.row
        if earlier.in_run is not None:
            event = row_answered(row, took.on(earlier.in_run), now)
        else:
            event = RowEnded(
                at=now,
                number=row.number,
                custom_id=row.custom_id,
                attempts=took.http_requests,
                usage=took.usage,
                cost_usd=took.cost_usd,
                is_reused=True,
            )
        line, key = earlier.line, None
        if took != _NOTHING:  # the line has what all calls took
            line, key = with_spent(line, took.on(earlier.response)), row.key
        self._add(placed, line, event, key)

    def _add(
        self,
        placed: Placed,
        line: bytes,
        event: RowEnded,
        key: bytes | None = None,
        *,
        is_final: bool = True,
    ) -> None:
        answers, columns = self._answers.pop(placed.row.custom_id, ()), placed.row.columns
        ended = RowOutcome(
            placed.place, line, event, key, columns, is_final=is_final, answers=answers
        )
        self._ended.append(ended)
        self.unkept_bytes += ended.size

    # ---------------------------------------------------------------- held until they are on disk

    @property
    def has_new(self) -> bool:
        """Whether a row has ended since the last `take`."""
        return bool(self._ended)

    @property
    def is_keeping(self) -> bool:
        """Whether a message to the store has no reply yet."""
        return bool(self._keeping)

    @property
    def has_unkept(self) -> bool:
        """Whether any row that has ended is not on disk."""
        return bool(self._ended or self._unkept or self._keeping)

    def take(self) -> tuple[RowOutcome, ...]:
        """Return the rows that the caller hands to the store, in one message."""
        ended = (*self._unkept, *self._ended)
        self._unkept, self._ended = [], []
        self._keeping += 1
        return ended

    def kept(self, ended: Sequence[RowOutcome]) -> None:
        """Record that the rows of one message are on disk."""
        self._keeping -= 1
        self.unkept_bytes -= sum(one.size for one in ended)

    def not_kept(self, ended: Sequence[RowOutcome], *, is_crash: bool) -> None:
        """Record that the rows of one message could not be kept.

        Args:
            ended: the rows of the message.
            is_crash: True to hand them to the store again at once; False to do so with the next row
                that ends.
        """
        self._keeping -= 1
        if is_crash:
            self._ended = [*ended, *self._ended]
        else:
            self._unkept = [*ended, *self._unkept]
