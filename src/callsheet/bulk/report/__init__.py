"""The report of a finished bulk run: a page with plots."""

from .page import ReportMeta, is_report, report_page, write_report

__all__ = ["ReportMeta", "is_report", "report_page", "write_report"]
