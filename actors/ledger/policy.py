"""How the ledger of a troupe is kept."""

from os import PathLike
from pathlib import Path

import attrs
from attrs.validators import deep_iterable, gt, instance_of

from .budgets import Budget

__all__ = ["LedgerPolicy"]


def _path(value: str | PathLike[str] | None) -> Path | None:
    return None if value is None else Path(value)


@attrs.frozen(kw_only=True)
class LedgerPolicy:
    """How money is kept.

    Args:
        budgets: what may be spent; a call that might go beyond any of them is not sent.
        path: of the file; None keeps the books in memory only.
        most_output_tokens: what an answer may have, for what is reserved, if the request says
            nothing (`Request.max_tokens`).

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    budgets: tuple[Budget, ...] = attrs.field(
        default=(), converter=tuple[Budget, ...], validator=deep_iterable(instance_of(Budget))
    )
    path: Path | None = attrs.field(default=None, converter=_path)
    most_output_tokens: int = attrs.field(default=4096, validator=[instance_of(int), gt(0)])
