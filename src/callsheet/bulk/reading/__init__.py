"""Read an input as rows: JSON, CSV, Parquet or Excel, one record at a time.

    bytes, unpacked (source)
        -> text in UTF-8, in lines (text)
        -> records (json_values, csv_table, binary_tables)
        -> requests (bodies, batch_lines, columns), or what to do instead (advice)
        -> rows with an id and a key (rows, identity)

The conversion is pure and synchronous; only reading is I/O. Iterate over the rows in a worker
thread.
"""

from .errors import InputChanged, InputError
from .opening import count_rows, open_rows
from .settings import Form, ReadSettings

__all__ = ["Form", "InputChanged", "InputError", "ReadSettings", "count_rows", "open_rows"]
