"""Classes of pydantic's, which describe and validate themselves. pydantic is optional."""

import json
from typing import TYPE_CHECKING, TypeGuard

from ..json_value import Json

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def is_pydantic(kind: object) -> TypeGuard[type[object]]:
    """Return whether a type is a class of pydantic's, which is not imported for this."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__")


def pydantic_schema(kind: type[object]) -> dict[str, Json]:
    """Return the JSON schema of one of pydantic's classes.

    Args:
        kind: a model or a dataclass of pydantic's.

    Raises:
        NotImplementedError: it is neither; msgspec asks for such an error.
        TypeError: a field has no JSON schema.
    """
    if not is_pydantic(kind):
        raise NotImplementedError
    from pydantic.errors import PydanticUserError  # noqa: PLC0415  # installed if there is `kind`

    try:
        return _adapter(kind).json_schema()
    except PydanticUserError as error:
        raise TypeError(f"{kind.__qualname__} has no JSON schema: {error.message}") from error


def validate(kind: type[object], value: object) -> object:
    """Return an instance of one of pydantic's classes.

    Args:
        kind: a model or a dataclass of pydantic's.
        value: the decoded JSON of the instance.

    Raises:
        NotImplementedError: `kind` is neither.
        ValueError: the value does not fit; the message names each member that does not.
    """
    if not is_pydantic(kind):
        raise NotImplementedError
    from pydantic import ValidationError  # noqa: PLC0415  # installed if there is `kind`

    try:
        # As JSON, since a strict model takes the text of a date from JSON only.
        return _adapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        reasons = (f"{one['msg']} - at `{'.'.join(('$', *map(str, one['loc'])))}`" for one in found)
        raise ValueError("; ".join(reasons)) from error


def _adapter(kind: type[object]) -> "TypeAdapter[object]":
    from pydantic import TypeAdapter  # noqa: PLC0415  # installed if there is `kind`

    return TypeAdapter(kind)
