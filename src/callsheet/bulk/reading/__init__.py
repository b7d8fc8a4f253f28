"""How a file becomes rows: JSON Lines, CSV or Parquet, one record at a time.

    bytes (source) -> lines, records (lines, csv_table, parquet_table) -> requests (bodies, columns)
        -> rows with an id and a key (identity, key)

Pure but for the reading itself, and synchronous: pull the rows in a worker thread.
"""

from .errors import InputChanged, InputError
from .opening import count_rows, open_rows
from .settings import Form, ReadSettings

__all__ = ["Form", "InputChanged", "InputError", "ReadSettings", "count_rows", "open_rows"]
