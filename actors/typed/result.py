"""The type of a result: the schema that the provider gets, and how a text is read."""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import TypedDict, cast, final

import msgspec

from ..json_value import Json
from .nulls import without_nulls
from .output import OutputSchema
from .parameters import name_of
from .pydantic_models import validate
from .schema import schema_at_root
from .strict import NotStrict, is_recursive, strict_schema
from .twin import Twins

_VALUE = "value"
_MAX_NAME = 64  # characters that OpenAI allows
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)  # of a server that leaves them in
_FENCED = re.compile(r"^[ \t]*```(?:json)?[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)


class InvalidResult(ValueError):
    """A text is no JSON, or does not match the type of the result; the message says why."""


@final
class ResultType:
    """The type of a result. Use `result_type`, which remembers them.

    A type that is no object, such as ``list[Label]``, is the member "value" of an object.

    Args:
        kind: the type, as for `json_schema_of`.

    Attributes:
        output: the schema for the provider: strict if the type allows it.

    Raises:
        TypeError: the type, or that of a field, has no JSON schema; the message names it.
    """

    def __init__(self, kind: object) -> None:
        name = name_of(kind)[:_MAX_NAME]
        twins = Twins(kind)
        schema = schema_at_root(twins.schema)
        self._is_wrapped = schema.get("type") != "object"
        if self._is_wrapped:
            twins = Twins(_wrapper_of(kind, name))
            schema = schema_at_root(twins.schema)
        self._twins, self._schema = twins, schema
        not_strict = ""
        try:
            schema = strict_schema(schema)
        except NotStrict as error:
            not_strict = str(error)
        self.output = OutputSchema(name, schema, not_strict, is_recursive(schema))

    def read(self, text: str) -> object:
        """Return the result in a generated text: JSON, which may be in a fenced block.

        Args:
            text: the text of a choice.

        Raises:
            InvalidResult: the text is no JSON, or does not match.
        """
        value = read_json(text)
        if not self._is_wrapped:
            return self._value(value)
        # Without the object around it, as a model may write that no strict mode restrains.
        bare: Json = {_VALUE: value}
        if not isinstance(value, dict) or _VALUE not in value:
            return self._member(bare)
        # Beside other members, "value" is rather a member of the result itself.
        first, second = (value, bare) if len(value) == 1 else (bare, value)
        try:
            return self._member(first)
        except InvalidResult:
            with suppress(InvalidResult):
                return self._member(second)
        return self._member(value)  # the reason that helps the model

    def _member(self, wrapped: Json) -> object:
        return cast("dict[str, object]", self._value(wrapped))[_VALUE]

    def _value(self, value: Json) -> object:
        try:
            plain = without_nulls(value, self._schema)
            twin = msgspec.convert(plain, self._twins.type, dec_hook=validate, str_keys=True)
            return self._twins.build(twin)
        except Exception as error:  # a validator of the user's may raise anything
            raise InvalidResult(str(error) or type(error).__name__) from error


@lru_cache(maxsize=256)
def result_type(kind: object) -> ResultType:
    """Return the type of a result. Making one takes milliseconds, so that it is remembered.

    Args:
        kind: the type, as for `json_schema_of`.

    Raises:
        TypeError: the type, or that of a field, has no JSON schema; the message names it.
    """
    return ResultType(kind)


def _wrapper_of(kind: object, name: str) -> object:
    make = cast("Callable[[str, dict[str, object]], object]", TypedDict)
    return make(name, {_VALUE: kind})


def read_json(text: str) -> Json:
    """Return the JSON of a text, or of the only fenced block in it.

    Args:
        text: the text of a response.

    Raises:
        InvalidResult: there is none, or there are several.
    """
    whole = _THOUGHTS.sub("", text.removeprefix("\ufeff")).strip()
    if not whole:
        raise InvalidResult("the text is empty")
    reason: Exception | None = None
    blocks = _FENCED.findall(whole)
    for part in (whole, *(blocks if len(blocks) == 1 else ())):
        try:
            return cast("Json", msgspec.json.decode(part))
        except (msgspec.DecodeError, RecursionError) as error:
            reason = error
    raise InvalidResult(f"the text is no JSON: {reason}")
