"""What a model is told about a tool, and the function that runs it."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs
from attrs.validators import optional

from ..json_value import Json, check_json, kind_of
from ..validation import instance_of

if TYPE_CHECKING:
    from .signature import ToolSignature

ToolDialect = Literal["chat", "responses", "anthropic", "gemini"]
"""The shapes in which a function is defined: OpenAI's two, Anthropic's and Gemini's."""

_PORTABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _valid_name(tool: "Tool", _: object, name: str) -> None:
    """Check a name. In a definition that is sent as it is, the provider checks it."""
    if not (name if tool.definition is not None else _PORTABLE.fullmatch(name)):
        raise ValueError(
            f"name of a tool must be 1 to 64 letters, digits, '_' or '-', not {name!r:.80}"
        )


def _is_callable(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    if not callable(value):
        raise TypeError(f"{field.alias} must be a function, not {kind_of(value)}")


def _json_value(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    check_json(value, field.name)


@attrs.frozen(kw_only=True)
class Tool:
    """A tool that a model may call.

    Args:
        name: the name by which the model calls it: at most 64 letters, digits, "_" and "-".
        description: what it does and when to use it, for the model.
        parameters: the JSON schema of its arguments, which are one object.
        function: runs a call; None if the program that receives the response runs it.
        definition: the tool in the words of one provider's API, which is sent there unchanged;
            see `Tool.defined`.
        signature: describes and reads the arguments of `function`. `Tool.of` sets it.
        abandon_on_cancel: whether cancelling leaves a function that is not async behind in its
            thread. Otherwise cancelling waits for it, because a thread cannot be stopped.

    Raises:
        ValueError, TypeError: a value is invalid; the message names it.
    """

    name: str = attrs.field(validator=[instance_of(str), _valid_name])
    description: str = attrs.field(default="", validator=instance_of(str))
    parameters: Mapping[str, Json] = attrs.field(
        factory=dict[str, Json], hash=False, validator=_json_value
    )
    function: Callable[..., object] | None = attrs.field(
        default=None, validator=optional(_is_callable), eq=False
    )
    definition: Mapping[str, Json] | None = attrs.field(
        default=None, hash=False, validator=_json_value
    )
    signature: "ToolSignature | None" = attrs.field(default=None, eq=False, repr=False)
    abandon_on_cancel: bool = attrs.field(default=False, eq=False, validator=instance_of(bool))

    @property
    def dialect(self) -> ToolDialect | None:
        """The shape of `definition`; None without one, or for a tool that is not a function."""
        return None if self.definition is None else _dialect_of(self.definition)

    @property
    def schema(self) -> dict[str, Json]:
        """The schema of the arguments: `parameters`, or an object without members."""
        return dict(self.parameters) or {"type": "object", "properties": {}}

    @property
    def strict_schema(self) -> Mapping[str, Json] | None:
        """The schema for a strict mode, in which a model can write no other arguments.

        None for a schema that has no such form, or that the user wrote.
        """
        return None if self.signature is None else self.signature.strict

    @property
    def told(self) -> dict[str, Json]:
        """All that a provider is told about the tool, in one shape for every provider."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
            "definition": None if self.definition is None else dict(self.definition),
        }

    @classmethod
    def of(
        cls,
        function: Callable[..., object],
        *,
        name: str | None = None,
        description: str | None = None,
        abandon_on_cancel: bool = False,
    ) -> "Tool":
        """Return a tool that runs a Python function.

        The model gets the first paragraph of the docstring, the descriptions of the parameters in
        it (in Google's, NumPy's or Sphinx's style), and the JSON schema of the annotations.
        Parameters may have any type that msgspec or pydantic reads, also your own classes;
        ``Annotated[int, msgspec.Meta(ge=1, description="...")]`` adds bounds and a description.

        Args:
            function: a function, async or not, a method, a `functools.partial` whose keywords the
                model does not see, or an object that can be called. One that is not async runs in
                a thread.
            name: the name for the model; None for that of the function.
            description: what it does, for the model; None for that of the docstring.
            abandon_on_cancel: as for `Tool`.

        Raises:
            TypeError: a parameter cannot be described to a model; the message says why.
            ValueError: the name is not valid.
        """
        from .signature import function_name, signature_of  # noqa: PLC0415  # loads msgspec

        called = name or function_name(function)
        signature = signature_of(function, called)
        return cls(
            name=called,
            description=signature.summary if description is None else description,
            parameters=signature.schema,
            function=function,
            signature=signature,
            abandon_on_cancel=abandon_on_cancel,
        )

    @classmethod
    def defined(cls, definition: object) -> "tuple[Tool, ...]":
        """Return the tools of a definition as the SDKs of OpenAI, Anthropic and Google take it.

        A function goes to every provider: unchanged to one whose API has this shape, translated to
        the others. Any other tool, such as a search that the provider runs, is sent unchanged.

        Args:
            definition: one tool, or Google's object with several functions.

        Raises:
            ValueError, TypeError: it has none of these shapes; the message says what is wrong.
        """
        if not isinstance(definition, Mapping):
            kind = type(definition).__name__
            raise TypeError(f"a tool must be a function, a Tool or a JSON object, not a {kind}")
        members = cast("Mapping[str, Json]", definition)
        declared = next((name for name in _DECLARATIONS if name in members), None)
        if declared is None:
            return (_defined(members),)
        functions, rest = members[declared], {**members}
        del rest[declared]
        if not isinstance(functions, list):
            raise TypeError(f'"{declared}" of a tool must be a list')
        one_each = [_defined({declared: [function]}) for function in functions]
        return (*one_each, *([_defined(rest)] if rest else ()))


_DECLARATIONS = ("functionDeclarations", "function_declarations")
_NO_SCHEMA: dict[str, Json] = {}
_SCHEMAS = ("parameters", "input_schema", "parametersJsonSchema", "parameters_json_schema")


def _dialect_of(definition: Mapping[str, Json]) -> ToolDialect | None:
    if any(name in definition for name in _DECLARATIONS):
        return "gemini"
    if "input_schema" in definition:
        return "anthropic"
    if "function" in definition:
        return "chat"
    return "responses" if definition.get("type") == "function" else None


def function_of(definition: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the object with the name, the description and the schema of a function.

    Args:
        definition: a tool in the words of a provider's API.

    Raises:
        TypeError: there is no such object.
    """
    found: Json | Mapping[str, Json] = definition.get("function", definition)
    if definition.get("type") == "custom":  # OpenAI's tools whose input is a text
        found = definition.get("custom", definition)
    for name in _DECLARATIONS:
        if isinstance(listed := definition.get(name), list):
            found = listed[0]
    if not isinstance(found, Mapping):
        raise TypeError("the function of a tool must be an object")
    return found


def _defined(definition: Mapping[str, Json]) -> Tool:
    function = function_of(definition)
    # A tool that is not a function may have no name: its type is one, or Google's only member.
    name = function.get("name") or definition.get("type") or next(iter(definition), "")
    if not name or name == "function" or not isinstance(name, str):
        raise ValueError('a tool has no "name"')
    schema = next((function[key] for key in _SCHEMAS if function.get(key)), _NO_SCHEMA)
    if not isinstance(schema, Mapping):
        raise TypeError(f"the schema of the tool {name!r} must be an object")
    return Tool(
        name=name,
        description=str(function.get("description") or ""),
        parameters=schema,
        definition=definition,
    )


def _read_tool(given: object) -> tuple[Tool, ...]:
    if isinstance(given, Tool):
        return (given,)
    return (Tool.of(given),) if callable(given) else Tool.defined(given)


ToolLike = Tool | Callable[..., object] | Mapping[str, object]
"""A tool, a function (see `Tool.of`), or a tool as the SDKs take it (see `Tool.defined`)."""


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, Mapping)


def tools_of(tools: Iterable[ToolLike]) -> tuple[Tool, ...]:
    """Return tools, each with a name of its own.

    Args:
        tools: the tools, in any of these forms.

    Raises:
        ValueError, TypeError: one of them is none, or two have the same name; the message says so.
    """
    if tools == ():  # the usual case
        return ()
    if not _is_list(tools):
        raise TypeError(f"tools must be a list, such as tools=[function], not {kind_of(tools)}")
    found: dict[str, Tool] = {}
    for at, given in enumerate(tools):
        try:
            read = _read_tool(given)
        except (TypeError, ValueError) as error:
            raise type(error)(f"tools[{at}]: {error}") from None
        for tool in read:
            if tool.name in found:
                raise ValueError(f"tools[{at}]: another tool has the name {tool.name!r}, too")
            found[tool.name] = tool
    return tuple(found.values())
