"""The report of a finished bulk run: a page with plots."""
