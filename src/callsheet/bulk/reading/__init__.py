"""Read an input file as rows: JSON Lines, CSV or Parquet, one record at a time.

    bytes (source) -> lines, records (lines, csv_table, parquet_table) -> requests (bodies, columns)
        -> rows with an id and a key (identity, key)

The conversion is pure and synchronous; only reading is I/O. Iterate over the rows in a worker
thread.
"""

from .errors import InputChanged, InputError
from .opening import count_rows, open_rows
from .settings import Form, ReadSettings

__all__ = ["Form", "InputChanged", "InputError", "ReadSettings", "count_rows", "open_rows"]
