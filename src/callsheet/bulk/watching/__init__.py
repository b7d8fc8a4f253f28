"""Show a bulk run while it lasts, and record what its report needs."""

from .event_log import EventLog
from .limit_use import LimitUse, limit_uses
from .outlook import History, Outlook, outlook
from .series import Series, SlowRow
from .totals import RELATIVE_ERROR, Histogram, TimeBucket, TimeBuckets
from .watch import ProgressObserver, open_watch

__all__ = [
    "RELATIVE_ERROR",
    "EventLog",
    "Histogram",
    "History",
    "LimitUse",
    "Outlook",
    "ProgressObserver",
    "Series",
    "SlowRow",
    "TimeBucket",
    "TimeBuckets",
    "limit_uses",
    "open_watch",
    "outlook",
]
