"""The arguments of a function: their JSON schema for a model, and how a call of it is read.

The schema and the validation follow from one TypedDict that is made of the signature, so that a
model is told exactly what the function is given.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import (
    Annotated,
    NotRequired,
    Required,
    TypedDict,
    cast,
    final,
    get_args,
    get_type_hints,
)
from weakref import WeakKeyDictionary

import msgspec

from ..json_value import Json
from ..typed import InvalidResult, ResultType, json_schema_of
from .docstring import Docstring, read_docstring

_REFUSED: Mapping[object, str] = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only, but a model names its arguments",
    inspect.Parameter.VAR_POSITIONAL: "stands for any number of arguments, which have no names",
    inspect.Parameter.VAR_KEYWORD: "stands for any names, which a model would have to know",
}


@final
class ToolSignature:
    """The signature of a function that a model may call.

    Args:
        function: a function, a method, a `functools.partial`, or an object that can be called.
        name: its name, for errors.

    Attributes:
        summary: the first paragraph of its docstring.
        schema: the JSON schema of its arguments.
        strict: the same in the form that strict modes enforce; None if it has no such form.

    Raises:
        TypeError: a parameter cannot be described to a model; the message names it and says why.
    """

    def __init__(self, function: Callable[..., object], name: str) -> None:
        if _is_generator(function):
            raise TypeError(f"the tool {name} is a generator; let it return a list instead")
        documented = docstring_of(function)
        self.summary = documented.summary
        self._name = name
        make = cast("Callable[[str, dict[str, object]], object]", TypedDict)
        members = _members_of(function, name, documented)
        kind = make(name, members)
        try:
            self._type = ResultType(kind)
            schema = json_schema_of(kind)
        except TypeError as error:
            raise TypeError(f"the tool {name} cannot be described: {error}") from error
        del schema["title"]
        self.schema: Mapping[str, Json] = schema
        output = self._type.output
        self.strict = None if output.not_strict else output.schema
        self._names = frozenset(members)

    def read(self, arguments: Mapping[str, Json]) -> Mapping[str, object]:
        """Return the arguments of a call as the function takes them.

        Args:
            arguments: what the model wrote.

        Raises:
            ValueError: they do not match the signature; the message says where and why.
        """
        unknown = ", ".join(sorted(map(repr, arguments.keys() - self._names)))
        if unknown:
            known = ", ".join(sorted(self._names)) or "none"
            raise ValueError(f"there is no parameter {unknown}; the parameters are: {known}")
        text = msgspec.json.encode(arguments).decode()
        try:
            return cast("Mapping[str, object]", self._type.read(text))
        except InvalidResult as error:
            raise ValueError(str(error)) from error


_KNOWN: WeakKeyDictionary[FunctionType, dict[str, ToolSignature]] = WeakKeyDictionary()


def signature_of(function: Callable[..., object], name: str) -> ToolSignature:
    """Return the signature of a function. Making one takes a millisecond, so it is remembered.

    Args:
        function: as for `ToolSignature`.
        name: the name of the tool.
    """
    if not isinstance(function, FunctionType):
        return ToolSignature(function, name)
    known = _KNOWN.setdefault(function, {})
    if name not in known:
        known[name] = ToolSignature(function, name)
    return known[name]


def function_name(function: Callable[..., object]) -> str:
    """Return the name of a function; that of its class for an object that can be called.

    Args:
        function: as for `ToolSignature`.
    """
    inner = _plain(function)
    name = getattr(inner, "__name__", None)
    return name if isinstance(name, str) else type(inner).__name__


def _plain(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function inside of partials."""
    while isinstance(function, functools.partial):
        function = cast("functools.partial[object]", function).func
    return function


def _is_generator(function: Callable[..., object]) -> bool:
    kinds = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    inner = _plain(function)
    called: object = getattr(inner, "__call__", None)  # noqa: B004  # of an object that is called
    return any(is_one(inner) or is_one(called) for is_one in kinds)


def docstring_of(function: Callable[..., object]) -> Docstring:
    """Return the docstring of a function; of an object that can be called, that of its `__call__`.

    Args:
        function: as for `ToolSignature`.
    """
    inner = _plain(function)
    if hasattr(inner, "__name__"):
        return read_docstring(inspect.getdoc(inner))
    called = read_docstring(inspect.getdoc(type(inner).__call__))
    own = read_docstring(inspect.getdoc(inner))
    return Docstring(called.summary or own.summary, {**own.parameters, **called.parameters})


def _hints_of(function: Callable[..., object], name: str) -> Mapping[str, object]:
    inner = inspect.unwrap(_plain(function))
    if inspect.isclass(inner):
        inner = inner.__init__
    elif not hasattr(inner, "__annotations__"):  # an object that can be called
        inner = type(inner).__call__
    try:
        return get_type_hints(inner, include_extras=True)
    except NameError as error:
        raise TypeError(f"the tool {name} has an unknown annotation: {error}") from error


def _members_of(
    function: Callable[..., object], name: str, documented: Docstring
) -> dict[str, object]:
    """Return {parameter: its type with its description}, for a TypedDict."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise TypeError(f"the tool {name} has no signature: {error}") from error
    given = _given_in_partials(function)
    hints = _hints_of(function, name)
    members: dict[str, object] = {}
    for parameter in parameters.values():
        if parameter.name in given:
            continue
        if why := _REFUSED.get(parameter.kind):
            shown = str(parameter).partition(":")[0]
            raise TypeError(f"the parameter {shown} of the tool {name} {why}")
        if parameter.name not in hints:
            raise TypeError(f"the parameter {parameter.name} of the tool {name} has no annotation")
        kind = _described(hints[parameter.name], parameter, documented)
        is_required = parameter.default is inspect.Parameter.empty
        members[parameter.name] = Required[kind] if is_required else NotRequired[kind]
    return members


def _given_in_partials(function: Callable[..., object]) -> set[str]:
    """Return the names of arguments that partials give: the model does not choose them."""
    given: set[str] = set()
    while isinstance(function, functools.partial):
        partial = cast("functools.partial[object]", function)
        given |= partial.keywords.keys()
        function = partial.func
    return given


def _described(kind: object, parameter: inspect.Parameter, documented: Docstring) -> object:
    """Return a type with a description: that of its annotation or that of the docstring."""
    notes = get_args(kind)[1:] if hasattr(kind, "__metadata__") else ()
    if any(isinstance(note, msgspec.Meta) and note.description for note in notes):
        words = None
    else:
        texts = (note for note in notes if isinstance(note, str))
        words = next(texts, documented.parameters.get(parameter.name))
    default = _as_json(parameter.default)
    if words is None and default is None:
        return kind
    extra = None if default is None else {"default": default}
    return Annotated[kind, msgspec.Meta(description=words, extra_json_schema=extra)]


def _as_json(default: object) -> Json:
    """Return a default as JSON; None if it is none, or has no form in JSON."""
    if default is inspect.Parameter.empty:
        return None
    try:
        return cast("Json", msgspec.to_builtins(default, str_keys=True))
    except (TypeError, ValueError):
        return None
