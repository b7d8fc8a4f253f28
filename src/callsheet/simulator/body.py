"""Read the members of a JSON request body, and raise a vendor-like 400 for invalid ones."""

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import cast

import attrs

from .wire import Json


@attrs.frozen(eq=False)
class RequestRefused(Exception):
    """A request is refused: the status and the content of the error response.

    Args:
        status: the HTTP status.
        message: what is wrong.
        type: the type of the error; Anthropic's follows from the status alone.
        param: the member of the body that is invalid.
        code: the machine-readable code of the error.
        headers: further headers of the response.
        wait_s: seconds after which a retry would be admitted; None if that is not known.
    """

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = attrs.field(factory=dict[str, str])
    wait_s: float | None = None

    @classmethod
    def no_such_url(cls, method: str, path: str) -> "RequestRefused":
        """Return the 404 for an unknown path."""
        return cls(404, f"Invalid URL ({method} {path})")

    @classmethod
    def no_such_method(cls, method: str, allowed: str) -> "RequestRefused":
        """Return the 405 for a method that the path does not support."""
        return cls(
            405,
            f"Not allowed to {method} on this URL. Only {allowed} requests are accepted.",
            code="method_not_supported",
            headers={"allow": allowed},
        )

    @classmethod
    def context_exceeded(cls, most: int, prompt: int, answer: int, param: str) -> "RequestRefused":
        """Return the 400 for a prompt and response longer than the model's context."""
        return cls(
            400,
            f"This model's maximum context length is {most} tokens. However, you requested "
            f"{prompt + answer} tokens ({prompt} in the {param}, {answer} in the completion). "
            f"Please reduce the length of the {param} or completion.",
            param=param,
            code="context_length_exceeded",
        )

    @classmethod
    def unsupported(cls, param: str, given: str, known: tuple[str, ...]) -> "RequestRefused":
        """Return the 400 for a member with an unsupported value."""
        listed = ", ".join(f"'{name}'" for name in known)
        return cls(
            400,
            f"Invalid value: '{given}'. Supported values are: {listed}.",
            param=param,
            code="invalid_value",
        )


def invalid_type(name: str, expected: str, value: Json) -> RequestRefused:
    """Return the 400 for a member of another type."""
    return RequestRefused(
        400,
        f"Invalid type for '{name}': expected {expected}, but got {json.dumps(value)[:60]} "
        "instead.",
        param=name,
        code="invalid_type",
    )


def _beyond(kind: str, name: str, value: float, low: float, high: float) -> RequestRefused:
    side, code = ("minimum", "below") if value < low else ("maximum", "above")
    return RequestRefused(
        400,
        f"Invalid '{name}': {kind} {code} {side} value. Expected a value "
        f"{'>=' if value < low else '<='} {low if value < low else high}, but got {value} instead.",
        param=name,
        code=f"{kind}_{code}_{side[:3]}_value",
    )


def _empty(name: str) -> RequestRefused:
    return RequestRefused(
        400,
        f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got an empty "
        "array instead.",
        param=name,
        code="empty_array",
    )


def _too_long(name: str, most: int, length: int) -> RequestRefused:
    return RequestRefused(
        400,
        f"Invalid '{name}': array too long. Expected an array with maximum length {most}, but got "
        f"an array with length {length} instead.",
        param=name,
        code="array_above_max_length",
    )


@attrs.frozen
class RequestBody:
    """A JSON object from the client. A member that is null counts as missing.

    Every method raises `RequestRefused` (400) if the member is invalid.

    Args:
        members: the members of the object.
        at: the prefix of their names in error texts: the path of the object in the body.
    """

    members: Mapping[str, Json]
    at: str = ""

    @classmethod
    def parse(cls, data: bytes) -> "RequestBody":
        """Parse the bytes of a body."""
        try:
            value = cast("Json", json.loads(data))
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise RequestRefused(400, "We could not parse the JSON body of your request.")
        return cls(value)

    def refuse_unknown(self, known: AbstractSet[str]) -> None:
        """Raise `RequestRefused` (400) for the first member that the endpoint does not have.

        Args:
            known: the members of the endpoint.
        """
        for name in self.members:
            if name not in known:
                raise RequestRefused(
                    400,
                    f"Unknown parameter: '{self.at}{name}'.",
                    param=f"{self.at}{name}",
                    code="unknown_parameter",
                )

    def model(self) -> str:
        """Return the name of the model, which is required."""
        model = self.members.get("model")
        if not isinstance(model, str) or not model:
            raise RequestRefused(400, "you must provide a model parameter", param="model")
        return model

    def required(self, name: str) -> Json:
        """Return a required member."""
        value = self.members.get(name)
        if value is None:
            raise RequestRefused(
                400,
                f"Missing required parameter: '{self.at}{name}'.",
                param=self.at + name,
                code="missing_required_parameter",
            )
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Return an integer within bounds, or None if it is missing."""
        value = self.members.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid_type(self.at + name, "an integer", value)
        if not low <= value <= high:
            raise _beyond("integer", self.at + name, value, low, high)
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """Return a number within bounds, or None if it is missing."""
        value = self.members.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid_type(self.at + name, "a number", value)
        if not low <= value <= high:
            raise _beyond("decimal", self.at + name, value, low, high)
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean, False if it is missing."""
        value = self.members.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise invalid_type(self.at + name, "a boolean", value)
        return value

    def object(self, name: str) -> "RequestBody":
        """Return an object, an empty one if it is missing."""
        value = self.members.get(name)
        if value is None:
            return RequestBody({})
        if not isinstance(value, dict):
            raise invalid_type(self.at + name, "an object", value)
        return RequestBody(value, f"{self.at}{name}.")

    def list_of_objects(self, name: str) -> "list[RequestBody]":
        """Return a list of objects, an empty one if it is missing."""
        value = self.members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise invalid_type(self.at + name, "an array of objects", value)
        found: list[RequestBody] = []
        for i, item in enumerate(value):
            if not isinstance(item, dict):
                raise invalid_type(f"{self.at}{name}[{i}]", "an object", item)
            found.append(RequestBody(item, f"{self.at}{name}[{i}]."))
        return found

    def text(self, name: str) -> str | None:
        """Return a string, or None if it is missing."""
        value = self.members.get(name)
        if value is not None and not isinstance(value, str):
            raise invalid_type(self.at + name, "a string", value)
        return value

    def choice(self, name: str, known: tuple[str, ...]) -> str | None:
        """Return one of the known strings, or None if it is missing."""
        value = self.text(name)
        if value is not None and value not in known:
            raise RequestRefused.unsupported(self.at + name, value, known)
        return value

    def items(self, name: str, most: int) -> list[Json]:
        """Return a required list of 1 to `most` items."""
        value = self.required(name)
        if not isinstance(value, list):
            raise invalid_type(self.at + name, "an array", value)
        if not value:
            raise _empty(self.at + name)
        if len(value) > most:
            raise _too_long(self.at + name, most, len(value))
        return value

    def words(self, name: str, most: int, *, or_one: bool = False) -> tuple[str, ...]:
        """Return a list of non-empty strings, () if it is missing.

        Args:
            name: the name of the member.
            most: the maximum number of strings.
            or_one: True to accept a single string, too.
        """
        value = self.members.get(name)
        if value is None or value == []:
            return ()
        found = [value] if or_one and isinstance(value, str) else self.items(name, most)
        for word in found:
            if not isinstance(word, str) or not word:
                raise invalid_type(self.at + name, "strings that are not empty", word)
        return tuple(cast("list[str]", found))
