"""What a model is told about a tool, and the function that runs it."""

from collections.abc import Callable, Mapping

import attrs
from attrs.validators import instance_of, is_callable, matches_re, optional

from ..json_value import Json


@attrs.frozen(kw_only=True)
class Tool:
    """A tool that a model may call.

    Args:
        name: the name by which the model calls it: at most 64 letters, digits, "_" and "-".
        description: what it does and when to use it, for the model.
        parameters: the JSON schema of its arguments, which are one object.
        function: runs a call; None if the program that receives the response runs it.

    Raises:
        ValueError, TypeError: a value is invalid; the message names it.
    """

    name: str = attrs.field(validator=[instance_of(str), matches_re(r"[A-Za-z0-9_-]{1,64}")])
    description: str = attrs.field(default="", validator=instance_of(str))
    parameters: Mapping[str, Json] = attrs.field(factory=dict[str, Json], hash=False)
    function: Callable[..., object] | None = attrs.field(
        default=None, validator=optional(is_callable()), eq=False
    )
