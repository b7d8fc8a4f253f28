"""The files of a run: the store, OUTPUT, and the file of errors."""
