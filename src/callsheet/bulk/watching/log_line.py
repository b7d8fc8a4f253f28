"""What a log says of a bulk run at one moment: one line."""

from ...wording import dollars, printable
from ..progress import Progress
from .outlook import Outlook
from .panel import errors_words, rows_words, standing
from .words import duration, limit_name, percent, rate

__all__ = ["log_line"]


def log_line(progress: Progress, look: Outlook, *, is_over: bool = False) -> str:
    """A run as it stands, in one line of plain text.

    Args:
        progress: how it stands.
        look: what can be said beyond that.
        is_over: nothing will change any more.
    """
    share = ""
    if progress.total:
        share = f" ({percent(min(1.0, progress.ended / progress.total))})"
    parts = [f"{standing(progress, is_over=is_over)}: {rows_words(progress)}{share}"]
    if progress.reused:
        parts.append(f"{progress.reused:,} from before")
    if is_over:
        parts += [f"{rate(look.mean_rate)} rows/s on average", dollars(progress.cost_usd)]
    else:
        limits = progress.limits
        in_flight = progress.in_flight if limits is None else limits.in_flight
        parts += [f"{rate(look.rate)} rows/s", f"{in_flight:,} in flight"]
        if progress.retrying:
            parts.append(f"{progress.retrying:,} wait for another attempt")
        parts += [
            f"{printable(limit_name(use))} at {percent(use.share)}"
            for use in look.limits[:2]  # requests and tokens, in general
        ]
        parts.append(_spend(progress, look))
        if look.eta_s is not None:
            parts.append(f"{duration(look.eta_s)} to go")
    if progress.trouble and not is_over:
        parts.append(f"no answers: {printable(progress.trouble)}")
    if progress.unpriced:
        parts.append(f"{progress.unpriced:,} of unknown price")
    if progress.maybe_billed:
        parts.append(f"{progress.maybe_billed:,} may have been billed for nothing")
    if errors := errors_words(progress):
        parts.append(errors)
    passed = max(0.0, progress.now - progress.started_at)
    return f"[{passed:7.1f}s] {', '.join(parts)}"


def _spend(progress: Progress, look: Outlook) -> str:
    spent = dollars(progress.cost_usd)
    return spent if look.projected_usd is None else f"{spent} of {dollars(look.projected_usd)}"
