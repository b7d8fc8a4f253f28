"""The type of a result: the schema that the provider gets, and how a text is read."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TypedDict, cast, final

import msgspec

from ..json_value import Json
from .matching import matches_schema
from .nulls import without_nulls
from .output import OutputSchema
from .parameters import name_of
from .pydantic_models import validate
from .schema import schema_at_root
from .strict import NotStrict, is_recursive, strict_schema
from .twin import Twins

_VALUE = "value"
_SCHEMA = "__json_schema__"  # the attribute of a class that a JSON schema was given for
_OUTPUT = "__output_schema__"  # the attribute of a class whose code is elsewhere
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


@final
class SchemaResult:
    """The result of a class of `class_of_schema`: a dict that matches the schema.

    Args:
        name: the name of the class.
        schema: the JSON schema of an object.
        output: the schema for the provider; None to make it from `schema`.

    Attributes:
        output: the schema for the provider: strict if the schema allows it.
    """

    def __init__(
        self, name: str, schema: Mapping[str, Json], output: OutputSchema | None = None
    ) -> None:
        self._schema = dict(schema)
        if output is not None:
            self.output = output
            return
        not_strict = ""
        sent = self._schema
        try:
            sent = strict_schema(schema)
        except NotStrict as error:
            not_strict = str(error)
        self.output = OutputSchema(name[:_MAX_NAME], sent, not_strict, is_recursive(sent))

    def read(self, text: str) -> dict[str, Json]:
        """Return the object in a generated text: JSON, which may be in a fenced block.

        Args:
            text: the text of a choice.

        Raises:
            InvalidResult: the text is no JSON, or does not match.
        """
        value = without_nulls(read_json(text), self._schema)
        if isinstance(value, dict) and matches_schema(value, self._schema):
            return value
        raise InvalidResult(_mismatch(value, self._schema))


def class_of_schema(schema: Mapping[str, Json], name: str = "answer") -> type[dict[str, Json]]:
    """Return a class of results for a JSON schema, which `Request.returns` can name.

    Its results are dicts that match the schema.

    Args:
        schema: the JSON schema of an object.
        name: a name for it: at most 64 letters, digits, "_" and "-".

    Raises:
        ValueError: the schema is not that of an object with members.
    """
    if schema.get("type", "object") != "object" or not isinstance(schema.get("properties"), dict):
        raise ValueError('the schema must be that of an object, with "properties"')
    return type(name, (dict,), {_SCHEMA: dict(schema)})


def class_of_output(output: OutputSchema) -> type[dict[str, Json]]:
    """Return a class that asks for results as another one does whose code is elsewhere.

    `Troupe.submit` takes a request that names it: the process that has the code reads the result.

    Args:
        output: the schema that the provider gets for the other class.
    """
    return type(output.name, (dict,), {_OUTPUT: output})


def is_read_elsewhere(returns: type[object]) -> bool:
    """Return whether a class is one of `class_of_output`.

    Args:
        returns: the class of a result.
    """
    return isinstance(cast("object", returns), type) and _OUTPUT in vars(returns)


@lru_cache(maxsize=256)
def result_type(kind: object) -> ResultType | SchemaResult:
    """Return the type of a result. Making one takes milliseconds, so that it is remembered.

    Args:
        kind: the type, as for `json_schema_of`; or a class of `class_of_schema` or
            `class_of_output`.

    Raises:
        TypeError: the type, or that of a field, has no JSON schema; the message names it.
    """
    if isinstance(kind, type) and _OUTPUT in vars(kind):
        output: OutputSchema = vars(kind)[_OUTPUT]
        return SchemaResult(output.name, output.schema, output)
    if isinstance(kind, type) and _SCHEMA in vars(kind):
        return SchemaResult(kind.__name__, vars(kind)[_SCHEMA])
    return ResultType(kind)


def result_members(returns: type[object], text: str) -> dict[str, Json]:
    """Return the members of a result as JSON, from a text that was found to be valid.

    Args:
        returns: the class of the result.
        text: the text of a choice.

    Raises:
        InvalidResult: the text is no JSON.
    """
    names = result_columns(returns)
    value = read_json(text)
    if names == (_VALUE,) and not (isinstance(value, dict) and _VALUE in value):
        return {_VALUE: value}
    return value if isinstance(value, dict) else {}


def result_columns(returns: type[object]) -> tuple[str, ...]:
    """Return the names of the members of a result, in the order of its class.

    Args:
        returns: the class of the result.

    Raises:
        TypeError: the class has no JSON schema; the message names it.
    """
    properties = result_type(cast("object", returns)).output.schema.get("properties")
    return tuple(properties) if isinstance(properties, dict) else ()


def _mismatch(value: Json, schema: Mapping[str, Json]) -> str:
    """Return where a value does not match the schema of an object."""
    if not isinstance(value, dict):
        return "the text is not a JSON object"
    properties = cast("dict[str, Json]", schema.get("properties", {}))
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in value:
            return f'the object has no "{name}"'
    if schema.get("additionalProperties") is False:
        for name in value:
            if name not in properties:
                return f'the object has a "{name}", which is not in its schema'
    for name, given in value.items():
        part = properties.get(name)
        alone = {**schema, "properties": {name: part}, "required": []}
        if isinstance(part, dict) and not matches_schema({name: given}, alone):
            wanted = msgspec.json.encode(part).decode()
            return (
                f'"{name}" is {msgspec.json.encode(given).decode():.100}, and must match {wanted}'
            )
    return "the object does not match its schema"


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
