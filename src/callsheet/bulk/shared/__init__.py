"""A run that several processes work on: its rows are in a queue on a server."""
