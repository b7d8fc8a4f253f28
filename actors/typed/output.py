"""The schema of a generated text, as wire formats send it."""

from collections.abc import Mapping

import attrs

from ..json_value import Json


@attrs.frozen
class OutputSchema:
    """The JSON schema that a generated text must match.

    Args:
        name: a name for it: at most 64 letters, digits, "_" and "-".
        schema: the JSON schema, as it is sent.
        not_strict: why the strict mode of a provider cannot enforce it; empty if it can.
        is_recursive: whether a part of it contains itself.
    """

    name: str
    schema: Mapping[str, Json] = attrs.field(hash=False)
    not_strict: str = ""
    is_recursive: bool = False
