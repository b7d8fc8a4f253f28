"""Look into a running program in a terminal: `callsheet top`.

`source` gets readings, `watching` collects them, `view` has what the user chose, `tables` and
`screen` draw both, and `display` connects them to the terminal.
"""
