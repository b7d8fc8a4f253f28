"""The type of JSON values. It has a module of its own, since every other one builds on it."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""A value that `json.loads` can return."""
