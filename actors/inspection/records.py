"""What an inspected troupe records of its calls, besides what its actors know. Pure (R14)."""

import re
from collections import OrderedDict
from decimal import Decimal
from typing import final

import attrs

from ..calls import CallContext
from ..errors import CallFailed
from ..events import CallEvent, CallStage
from ..redaction import redact_text
from ..responses import Usage
from .readings import ErrorReading, ModelSpend, SpendReading

MAX_TEXT = 200
"""The most characters of a text of a reading."""

_MAX_ERRORS = 50
_MAX_MODELS = 200
_OTHER = "other models"
_AMOUNT = re.compile(r"(?<=[ (~$])(?<!returned )\d[\d,]*(?:\.\d+)?(?![.:]?\d)")
_ERRORS: frozenset[CallStage] = frozenset(("retrying", "failed"))


def shown(text: str, most: int = MAX_TEXT) -> str:
    """Return a text without secrets, which is cut if it is long (L8).

    Args:
        text: any text, such as the message of an error or an id.
        most: the most characters to return.
    """
    clean = redact_text(text[: 4 * most])  # before it is cut: a part of a key is not known
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def kind_of(text: str) -> str:
    """Return what the texts of errors of one kind have in common, for counting them.

    Amounts differ from error to error, such as "try again in 1.2 s". The status of a response and
    the parts of an address stay.

    Args:
        text: the message of an error.
    """
    return _AMOUNT.sub("#", text)


@attrs.define
class _ErrorRecord:
    at: float
    context: CallContext
    text: str
    retried: int = 0
    failed: int = 0


@attrs.define
class _ModelRecord:
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0


@final
class CallRecords:
    """Observes the errors of calls and, if there is no ledger, what the calls cost.

    Args:
        has_ledger: whether a ledger records the costs. Then only errors are observed, so that a
            call without an error costs nothing more.

    Attributes:
        stages: the stages of calls that it observes.
    """

    def __init__(self, *, has_ledger: bool) -> None:
        self.stages = _ERRORS if has_ledger else _ERRORS | {"answered"}
        self._errors: OrderedDict[tuple[str, str], _ErrorRecord] = OrderedDict()  # latest last
        self._models: dict[str, _ModelRecord] = {}
        self._maybe = 0

    def __repr__(self) -> str:
        return f"<CallRecords of {len(self._errors)} errors, {len(self._models)} models>"

    def __call__(self, event: CallEvent) -> None:
        """Record one event of a call; it is an `Observer`.

        Args:
            event: an event of one of `stages`.
        """
        if event.stage in _ERRORS:
            self._record_error(event)
        if event.usage is not None and "answered" in self.stages:
            self._record_cost(event, event.usage)

    def errors(self, now: float) -> tuple[ErrorReading, ...]:
        """Return the errors, the latest first.

        Args:
            now: the current time, in seconds on Trio's clock.
        """
        return tuple(
            ErrorReading(
                kind=kind,
                text=record.text,
                retried=record.retried,
                failed=record.failed,
                seconds=now - record.at,
                call=shown(record.context.call),
            )
            for (kind, _), record in reversed(self._errors.items())
        )

    def spend(self, saved_usd: Decimal) -> SpendReading:
        """Return what the calls have cost, for a troupe without a ledger.

        Args:
            saved_usd: what the cache of responses has saved, in USD.
        """
        models = sorted(self._models.items(), key=lambda item: item[1].usd, reverse=True)
        return SpendReading(
            source="calls",
            known_usd=str(sum((record.usd for _, record in models), Decimal(0))),
            reserved_usd=None,
            maybe_usd=None,
            maybe=self._maybe,
            unknown_usd=None,
            unpriced=sum(record.unpriced for _, record in models),
            saved_usd=str(saved_usd),
            models=[
                ModelSpend(
                    model=shown(model),
                    calls=record.calls,
                    input_tokens=record.input_tokens,
                    output_tokens=record.output_tokens,
                    known_usd=str(record.usd),
                    unpriced=record.unpriced,
                )
                for model, record in models
            ],
        )

    def _record_error(self, event: CallEvent) -> None:
        failure, text = event.failure, shown(event.error or "")
        kind = "" if failure is None else type(failure).__name__
        key = kind, kind_of(text)
        record = self._errors.pop(key, None) or _ErrorRecord(event.at, event.context, text)
        record.at, record.context, record.text = event.at, event.context, text
        if event.stage == "failed":
            record.failed += 1
        else:
            record.retried += 1
        self._errors[key] = record
        if len(self._errors) > _MAX_ERRORS:
            self._errors.popitem(last=False)
        if event.stage == "failed" and isinstance(failure, CallFailed):
            self._maybe += failure.maybe_billed or failure.billed == "maybe"

    def _record_cost(self, event: CallEvent, usage: Usage) -> None:
        model, models = event.model, self._models
        if model not in models and len(models) >= _MAX_MODELS:
            model = _OTHER
        record = models.setdefault(model, _ModelRecord())
        record.calls += 1
        record.input_tokens += usage.input_tokens
        record.output_tokens += usage.output_tokens
        self._maybe += 0 if event.response is None else event.response.maybe_billed
        if event.cost_usd is None:
            record.unpriced += 1
        else:
            record.usd += event.cost_usd
