"""Twins: for each class of a result, a struct that msgspec describes and decodes.

A twin has the fields that the constructor of its class takes, by their names there. Values are
built from it by that constructor, so that converters, validators, defaults and ``__post_init__``
work as they do everywhere else. attrs classes, dataclasses, NamedTuples and TypedDicts have twins,
and so have the classes of their fields. Those of a union get a member that tells them apart.
"""

import types
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, time
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    cast,
    final,
    get_args,
    get_origin,
)

import attrs
import msgspec
from typing_extensions import ReadOnly, TypeAliasType

from ..json_value import Json
from .parameters import Parameter, class_of, description_of, free_name, name_of, parameters_of
from .pydantic_models import pydantic_schema

_WRAPPERS = (Required, NotRequired, ReadOnly, Final, ClassVar)

# msgspec leaves out these formats, since it also accepts a time without a zone.
_WITH_FORMAT: Mapping[type[object], object] = {
    datetime: Annotated[datetime, msgspec.Meta(extra_json_schema={"format": "date-time"})],
    time: Annotated[time, msgspec.Meta(extra_json_schema={"format": "time"})],
}


@attrs.frozen
class _Tag:
    """What tells a class in a union apart.

    Args:
        member: the name of the member.
        value: its value for the class.
        is_own: whether the member is a field of the class.
    """

    member: str
    value: str
    is_own: bool


@attrs.frozen
class _Plan:
    """How a value of a class is built from one of its twin.

    Args:
        target: the class, whose constructor is called.
        fields: {field of the twin: parameter of the constructor}.
        constants: {further parameter: its value}.
    """

    target: Callable[..., object]
    fields: Mapping[str, str]
    constants: Mapping[str, str]


@final
class Twins:
    """The twins of all classes in one type.

    Args:
        kind: the type of a result.

    Attributes:
        type: the type that stands for `kind`, which msgspec can decode.
        schema: the JSON schema of its values, as msgspec and pydantic write it.

    Raises:
        TypeError: the type of a field is missing or unknown; the message names class and field.
    """

    def __init__(self, kind: object) -> None:
        self._twins: dict[object, type[msgspec.Struct]] = {}  # {(class, types, tag): its twin}
        self._plans: dict[type[object], _Plan] = {}  # {twin: how to build from it}
        self._fields: list[tuple[str, object]] = []  # (class and field, type of the twin's field)
        self.type: object = self._of(kind, {})
        self.schema = self._schema(name_of(kind))

    def _schema(self, name: str) -> dict[str, Json]:
        try:
            return _schema_of(self.type)
        except (TypeError, NotImplementedError) as error:
            reason: Exception = error
            refused = self.type
            for where, part in self._fields:  # the innermost first
                try:
                    _schema_of(part)
                except (TypeError, NotImplementedError) as cause:
                    name, reason, refused = where, cause, part
                    break
            words = str(reason).splitlines()[-1]
            if isinstance(refused, type) and refused.__module__ != "builtins":
                words += "; make it an attrs class, a dataclass or a pydantic model"
            raise TypeError(f"{name} has no JSON schema: {words}") from reason

    def build(self, value: object, path: str = "$") -> object:
        """Return the value that a decoded one stands for.

        Args:
            value: the decoded value, an instance of `type`.
            path: where it is in the whole value, for errors.

        Raises:
            ValueError: a constructor refuses its arguments; the message says where and why.
        """
        if isinstance(value, list | tuple | set | frozenset):
            items = cast("list[object]", value)
            built = [self.build(one, f"{path}[{at}]") for at, one in enumerate(items)]
            return type(items)(built)
        if isinstance(value, dict):
            pairs = cast("dict[object, object]", value)
            return {
                self.build(key, path): self.build(one, f"{path}[...]") for key, one in pairs.items()
            }
        plan = self._plans.get(type(value))
        if plan is None:
            return value
        arguments = {
            name: self.build(member, f"{path}.{name}")
            for field, name in plan.fields.items()
            if (member := getattr(value, field)) is not msgspec.UNSET
        }
        try:
            return plan.target(**arguments, **plan.constants)
        except Exception as error:  # a constructor of the user's may raise anything
            raise ValueError(f"{error or type(error).__name__} - at `{path}`") from error

    def _of(self, kind: object, variables: Mapping[object, object]) -> object:
        """Return the type that stands for another one.

        Args:
            kind: the type; it may contain classes that have twins.
            variables: {type variable: its type here}.
        """
        kind = _unwrapped(kind, variables)
        origin, args = get_origin(kind), get_args(kind)
        if class_of(kind) is not None:
            return self._twin(kind, variables)
        if origin is None or origin is Literal:
            return _WITH_FORMAT.get(kind, kind) if isinstance(kind, type) else kind
        if origin is Annotated:
            return Annotated[(self._of(args[0], variables), *args[1:])]
        if origin in (Union, types.UnionType):
            return self._union(args, variables)
        return origin[tuple(one if one is ... else self._of(one, variables) for one in args)]

    def _union(self, kinds: tuple[object, ...], variables: Mapping[object, object]) -> object:
        classes = [kind for kind in kinds if class_of(kind) is not None]
        tags = dict(zip(classes, _tags(classes), strict=True)) if len(classes) > 1 else {}
        return _union_of(
            self._twin(kind, variables, tags[kind]) if kind in tags else self._of(kind, variables)
            for kind in kinds
        )

    def _twin(
        self, kind: object, variables: Mapping[object, object], tag: _Tag | None = None
    ) -> type[msgspec.Struct]:
        target, owned = cast("Any", class_of(kind)), _variables_of(kind, variables)
        key = (target, tuple(owned[target].values()), tag)
        if key in self._twins:
            return self._twins[key]
        members = [
            member
            for member in parameters_of(target)
            if tag is None or not tag.is_own or member.name != tag.member
        ]
        fields = {f"field_{at}": member for at, member in enumerate(members)}
        twin = msgspec.defstruct(
            free_name(name_of(kind), {known.__name__ for known in self._twins.values()}),
            [
                (field, Any) if member.is_required else (field, Any, msgspec.UNSET)
                for field, member in fields.items()
            ],
            rename={field: member.name for field, member in fields.items()},
            tag_field=None if tag is None else tag.member,
            tag=None if tag is None else tag.value,
            module=target.__module__,
            namespace={"__doc__": description_of(target)},
            kw_only=True,
            frozen=True,
        )
        self._twins[key] = twin  # before its fields, which may have its type
        twin.__annotations__.update(
            {
                field: self._field(target, member, owned.get(member.owner, {}))
                for field, member in fields.items()
            }
        )
        names = {field: member.name for field, member in fields.items()}
        constants = {tag.member: tag.value} if tag is not None and tag.is_own else {}
        self._plans[twin] = _Plan(target, names, constants)
        return twin

    def _field(
        self, target: type[object], member: Parameter, variables: Mapping[object, object]
    ) -> object:
        kind = self._of(member.kind, variables)
        self._fields.append((f"{target.__qualname__}.{member.name}", kind))
        if member.is_required:
            return kind
        if member.default is None:
            return _union_of((kind, msgspec.UnsetType))
        described = msgspec.Meta(extra_json_schema={"default": member.default})
        return Annotated[_union_of((kind, msgspec.UnsetType)), described]


def _unwrapped(kind: object, variables: Mapping[object, object]) -> Any:  # noqa: ANN401  # a type
    """Return a type without aliases and marks such as ``Required``; the type of a variable."""
    while True:
        if isinstance(kind, TypeVar):
            kind = variables.get(kind) or kind.__bound__ or Any
        elif isinstance(kind, TypeAliasType):
            kind = kind.__value__
        elif isinstance(kind, NewType):
            kind = kind.__supertype__
        elif get_origin(kind) in _WRAPPERS:
            (kind,) = get_args(kind)
        else:
            return kind


def _union_of(kinds: Iterable[object]) -> object:
    return Union[tuple(kinds)]  # noqa: UP007  # made at run time


def _schema_of(kind: object) -> dict[str, Json]:
    return cast("dict[str, Json]", msgspec.json.schema(kind, schema_hook=pydantic_schema))


def _variables_of(
    kind: object, variables: Mapping[object, object]
) -> dict[object, dict[object, object]]:
    """Return {class: {type variable: its type}} for a generic class and its bases."""
    origin: Any = get_origin(kind) or kind
    parameters = getattr(origin, "__parameters__", ())
    types = (_substituted(one, variables) for one in get_args(kind))
    own: dict[object, object] = dict(zip(parameters, types, strict=False))
    found = {origin: own}
    for base in getattr(origin, "__orig_bases__", ()):
        if get_origin(base) not in (None, Generic):
            found |= _variables_of(base, own)
    return found


def _substituted(kind: Any, variables: Mapping[object, object]) -> object:  # noqa: ANN401  # a type
    """Return a type with the types of the variables in it."""
    if isinstance(kind, TypeVar):
        return variables.get(kind, kind)
    parameters = getattr(kind, "__parameters__", ())
    return kind[tuple(variables.get(one, one) for one in parameters)] if parameters else kind


def _tags(kinds: list[object]) -> list[_Tag]:
    """Return what tells each of several classes apart: a field that they share, or an added one."""
    members = [{member.name: member for member in parameters_of(kind)} for kind in kinds]
    for name in members[0]:
        values = [_constant(one[name]) if name in one else None for one in members]
        if None not in values and len(set(values)) == len(values):
            return [_Tag(name, cast("str", value), is_own=True) for value in values]
    added = "type"
    while any(added in one for one in members):
        added += "_"
    return [_Tag(added, name_of(kind), is_own=False) for kind in kinds]


def _constant(member: Parameter) -> str | None:
    """Return the only text that a member can have; None if there are others."""
    values = get_args(member.kind) if get_origin(member.kind) is Literal else ()
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None
