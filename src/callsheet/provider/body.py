"""Reading the members of a request's JSON body, with the real 400s for what is wrong."""

import json
from collections.abc import Mapping
from typing import cast

import attrs

from .apierror import ApiError
from .jsontext import Json

__all__ = ["Body"]


def _bad(name: str, expected: str, value: Json) -> ApiError:
    return ApiError(
        400,
        f"Invalid type for '{name}': expected {expected}, but got {json.dumps(value)[:60]} "
        "instead.",
        param=name,
        code="invalid_type",
    )


@attrs.frozen
class Body:
    """The object a client sent. A member that is null counts as not given.

    Every method raises `ApiError` (400) when the member is not what it should be.
    """

    members: Mapping[str, Json]

    @classmethod
    def parse(cls, data: bytes) -> "Body":
        """Read a body's bytes."""
        try:
            value = cast("Json", json.loads(data))
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ApiError(400, "We could not parse the JSON body of your request.")
        return cls(value)

    def model(self) -> str:
        """The model's name, which every call has."""
        model = self.members.get("model")
        if not isinstance(model, str) or not model:
            raise ApiError(400, "you must provide a model parameter", param="model")
        return model

    def required(self, name: str) -> Json:
        """A member that has to be there."""
        value = self.members.get(name)
        if value is None:
            raise ApiError(
                400,
                f"Missing required parameter: '{name}'.",
                param=name,
                code="missing_required_parameter",
            )
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number between two others, or None when it is not given."""
        value = self.members.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise _bad(name, "an integer", value)
        if not low <= value <= high:
            side, code = ("minimum", "below") if value < low else ("maximum", "above")
            raise ApiError(
                400,
                f"Invalid '{name}': integer {code} {side} value. Expected a value "
                f"{'>=' if value < low else '<='} {low if value < low else high}, but got {value} "
                "instead.",
                param=name,
                code=f"integer_{code}_{side[:3]}_value",
            )
        return value

    def flag(self, name: str) -> bool:
        """True or false; false when it is not given."""
        value = self.members.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise _bad(name, "a boolean", value)
        return value

    def object(self, name: str) -> "Body":
        """An object; an empty one when it is not given."""
        value = self.members.get(name)
        if value is None:
            return Body({})
        if not isinstance(value, dict):
            raise _bad(name, "an object", value)
        return Body(value)

    def text(self, name: str) -> str | None:
        """A string, or None when it is not given."""
        value = self.members.get(name)
        if value is not None and not isinstance(value, str):
            raise _bad(name, "a string", value)
        return value

    def texts_or_tokens(self, name: str) -> "list[str | list[int]]":
        """What `prompt` and `input` are: a string, token ids, or a list of either.

        Token ids cannot be read back without a tokenizer; they are kept as they are.
        """
        value = self.required(name)
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            raise _bad(name, "a string or an array", value)
        if not value:
            raise ApiError(
                400,
                f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got "
                "an empty array instead.",
                param=name,
                code="empty_array",
            )
        if _are_tokens(value):
            return [cast("list[int]", value)]
        for item in value:
            if not (isinstance(item, str) or (isinstance(item, list) and _are_tokens(item))):
                raise _bad(name, "strings or arrays of token ids", item)
        return cast("list[str | list[int]]", value)


def _are_tokens(value: list[Json]) -> bool:
    return bool(value) and all(type(item) is int for item in value)
