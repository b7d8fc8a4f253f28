"""What the constructor of a class takes: that of an attrs class, dataclass, NamedTuple, TypedDict.

A class of pydantic's or a `msgspec.Struct` is none of them: they decode themselves.
"""

import dataclasses
import inspect
import itertools
import re
from collections.abc import Container, Iterator, Mapping
from typing import Any, cast, get_args, get_origin, get_type_hints

import attrs
import msgspec
from typing_extensions import is_typeddict

from ..json_value import Json
from .pydantic_models import is_pydantic

# What a factory makes, where it has no effect besides.
_EMPTY: Mapping[object, Json] = {list: [], tuple: [], set: [], frozenset: [], dict: {}}


@attrs.frozen
class Parameter:
    """A parameter of the constructor of a class.

    Args:
        name: the name of the parameter, which is that of the member of the JSON object.
        kind: the type of its values.
        owner: the class that declares it: the class itself or a base of it.
        is_required: whether it has no default.
        default: the default as JSON, where it is a plain value; else None.
    """

    name: str
    kind: object
    owner: type[Any]
    is_required: bool = True
    default: Json = None


def class_of(kind: object) -> type[Any] | None:
    """Return the class whose parameters `parameters_of` returns; None for any other type.

    Args:
        kind: a class, or a generic class with its types.
    """
    found: object = get_origin(kind) or kind
    if not isinstance(found, type) or is_pydantic(found):
        return None
    known = cast("type[Any]", found)
    is_named_tuple = tuple in known.__mro__ and hasattr(known, "_fields")
    if attrs.has(known) or dataclasses.is_dataclass(known):
        return cast("type[Any]", found)
    return known if is_typeddict(known) or is_named_tuple else None


def parameters_of(kind: object) -> list[Parameter]:
    """Return the parameters of the constructor of a class.

    Args:
        kind: a type for which `class_of` returns a class.

    Raises:
        TypeError: a parameter has no type, or one that cannot be found; the message names it.
    """
    found = class_of(kind)
    if found is None:
        raise TypeError(f"{kind!r} is no class with fields")
    try:
        hints = get_type_hints(found, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"{found.__qualname__} has a field with an unknown type: {error}"
        ) from error
    if attrs.has(found):  # a type that is an argument of the field
        hints = {one.name: one.type for one in attrs.fields(found) if one.type} | hints
    parameters: list[Parameter] = []
    for field, name, is_required, default in _parameters(found, hints):
        if field not in hints:
            raise TypeError(f"{found.__qualname__}.{field} has no type")
        hint = hints[field]
        if isinstance(hint, dataclasses.InitVar):
            hint = cast("Any", hint).type
        owners = (one for one in found.__mro__ if field in inspect.get_annotations(one))
        owner = next(owners, found)
        parameters.append(Parameter(name, hint, owner, is_required, _as_json(default)))
    return parameters


def _parameters(
    kind: type[Any], hints: Mapping[str, object]
) -> Iterator[tuple[str, str, bool, object]]:
    """Return name of the field, name of the parameter, whether it is required, and its default."""
    if attrs.has(kind):
        for field in attrs.fields(kind):
            if field.init:
                is_required = field.default is attrs.NOTHING
                yield field.name, field.alias or field.name, is_required, field.default
    elif dataclasses.is_dataclass(kind):
        for one in dataclasses.fields(kind):
            if one.init:
                default = one.default_factory if one.default is dataclasses.MISSING else one.default
                yield one.name, one.name, default is dataclasses.MISSING, default
        for name, hint in hints.items():
            if isinstance(hint, dataclasses.InitVar):
                default = getattr(kind, name, dataclasses.MISSING)
                yield name, name, default is dataclasses.MISSING, default
    elif is_typeddict(kind):
        for name in kind.__annotations__:
            yield name, name, name in kind.__required_keys__, None
    else:
        for name in kind._fields:
            yield name, name, name not in kind._field_defaults, kind._field_defaults.get(name)


def _as_json(default: object) -> Json:
    """Return a default as JSON; None if it is none, or made by a function of the user's."""
    default = getattr(default, "factory", default)  # of an attrs.Factory
    if isinstance(default, type) and default in _EMPTY:
        return _EMPTY[default]
    try:
        return cast("Json", msgspec.to_builtins(default, str_keys=True))
    except (TypeError, ValueError):
        return None


def description_of(kind: type[Any]) -> str | None:
    """Return the first paragraph of a class's own docstring; None if there is none.

    Args:
        kind: a class for which `class_of` returns a class.
    """
    written = vars(kind).get("__doc__")
    if not isinstance(written, str) or written.startswith(f"{kind.__name__}("):
        return None  # dataclasses and NamedTuples write such a docstring themselves
    return " ".join(inspect.cleandoc(written).split("\n\n")[0].split()) or None


def name_of(kind: object) -> str:
    """Return a name for a type, as providers accept it: letters, digits and "_".

    Args:
        kind: a class, or a generic class with its types.
    """
    origin = get_origin(kind)
    if origin is not None and not isinstance(origin, type):
        return "result"  # such as Literal
    own = getattr(kind if origin is None else origin, "__name__", "result")
    name = "_".join((own, *map(name_of, () if origin is None else get_args(kind))))
    return re.sub(r"[^A-Za-z0-9_]+", "_", name)


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name that no other definition has: two classes may have the same.

    Args:
        name: the name of a class, to which a number is added if it is taken.
        taken: the names of other definitions.
    """
    names = (f"{name}_{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain((name,), names) if one not in taken)
