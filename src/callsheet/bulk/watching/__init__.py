"""Show a bulk run while it lasts, and record what its report needs."""

from .event_log import EventLog
from .outlook import History, LimitUse, Outlook, limit_uses, outlook
from .series import RELATIVE_ERROR, Histogram, Series, SlowRow, TimeBucket, TimeBuckets
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
