"""What people see of a bulk run while it lasts, and what is kept of it for later."""

from .history import History
from .limit_use import LimitUse, limit_uses
from .outlook import Outlook, outlook
from .watch import ProgressObserver, open_watch

__all__ = [
    "History",
    "LimitUse",
    "Outlook",
    "ProgressObserver",
    "limit_uses",
    "open_watch",
    "outlook",
]
