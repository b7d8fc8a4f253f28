"""What is left to read of a bulk run when it is over: a summary, and a page with plots."""

from .meta import ReportMeta
from .page import report_page, write_report
from .summary import summary

__all__ = ["ReportMeta", "report_page", "summary", "write_report"]
