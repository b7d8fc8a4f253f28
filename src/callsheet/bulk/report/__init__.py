"""The report of a finished bulk run: a summary for the terminal, and a page with plots."""

from .page import ReportMeta, is_report, report_page, write_report
from .summary import summary

__all__ = ["ReportMeta", "is_report", "report_page", "summary", "write_report"]
