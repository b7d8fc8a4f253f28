"""The report of a finished bulk run: a summary for the terminal, and a page with plots."""

from .page import ReportMeta, report_page, write_report
from .summary import summary

__all__ = ["ReportMeta", "report_page", "summary", "write_report"]
