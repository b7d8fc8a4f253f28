"""Format the progress of a bulk run as one line for a log."""

from ...wording import dollars, duration, percent, printable, rate
from ..progress import Progress
from .limit_use import limit_name
from .outlook import Outlook
from .panel import bounds, errors_text, rows_text, run_state


def log_line(progress: Progress, look: Outlook, *, is_over: bool = False) -> str:
    """Format the progress of a run as one line of plain text.

    Args:
        progress: the current progress.
        look: the rates and estimates.
        is_over: True if the run has ended.
    """
    share = ""
    if progress.total:
        share = f" ({percent(min(1.0, progress.ended / progress.total))})"
    parts = [f"{run_state(progress, is_over=is_over)}: {rows_text(progress)}{share}"]
    if progress.reused:
        parts.append(f"{progress.reused:,} from earlier runs")
    if is_over:
        parts += [f"{rate(look.mean_rate)} rows/s on average", dollars(progress.cost_usd)]
    else:
        limits = progress.limits
        in_flight = progress.in_flight if limits is None else limits.in_flight
        parts += [f"{rate(look.rate)} rows/s", f"{in_flight:,} in flight"]
        if progress.retrying:
            parts.append(f"{progress.retrying:,} waiting for a retry")
        parts += [
            f"{printable(limit_name(use))} at {percent(use.share)}"
            for use in look.limits[:2]  # usually requests and tokens
        ]
        parts.append(_spend(progress, look))
        if look.eta_s is not None:
            parts.append(f"{duration(look.eta_s)} left")
    if progress.trouble and not is_over:
        parts.append(f"no responses: {printable(progress.trouble)}")
    if progress.unpriced:
        parts.append(f"{progress.unpriced:,} with unknown price")
    parts += bounds(progress)
    if progress.maybe_billed:
        parts.append(f"{progress.maybe_billed:,} may have been billed without a response")
    if errors := errors_text(progress):
        parts.append(errors)
    passed = max(0.0, progress.now - progress.started_at)
    return f"[{passed:7.1f}s] {', '.join(parts)}"


def _spend(progress: Progress, look: Outlook) -> str:
    spent = dollars(progress.cost_usd)
    return spent if look.projected_usd is None else f"{spent} of {dollars(look.projected_usd)}"
