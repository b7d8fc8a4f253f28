"""Random classes: their schemas are strict, and their values survive the way to JSON and back."""

import contextlib
import dataclasses
import datetime as dt
import enum
import json
import random
from decimal import Decimal
from typing import Literal, NamedTuple, TypedDict

import attrs
import pydantic
from hypothesis import given, reject
from hypothesis import strategies as st
from strictness import check_strict, conforms

from callsheet.actors.typed import InvalidResult, ResultType, result_type
from callsheet.simulator.text.structured import value_for


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Grade(enum.IntEnum):
    LOW = 1
    HIGH = 5


@attrs.frozen
class Case:
    """A type, and a strategy of its values, each with the JSON that stands for it."""

    kind: object
    values: st.SearchStrategy


def both(strategy, to_json=lambda value: value):
    return strategy.map(lambda value: (value, to_json(value)))


texts = st.text(st.characters(codec="utf-8"), max_size=5)
SCALARS = [
    Case(int, both(st.integers(-(2**53), 2**53))),
    Case(float, both(st.floats(allow_nan=False, allow_infinity=False))),
    Case(bool, both(st.booleans())),
    Case(str, both(texts)),
    Case(Literal["a", "b"], both(st.sampled_from(["a", "b"]))),
    Case(Literal[1, "b"] | None, both(st.sampled_from([1, "b", None]))),
    Case(Colour, both(st.sampled_from(Colour), lambda one: one.value)),
    Case(Grade, both(st.sampled_from(Grade), int)),
    Case(dt.date, both(st.dates(), dt.date.isoformat)),
    Case(dt.datetime, both(st.datetimes(timezones=st.just(dt.UTC)), dt.datetime.isoformat)),
    Case(Decimal, both(st.decimals(-10, 10, places=3), str)),
]
names = st.sampled_from(["first", "second", "kind", "type", "value", "class_", "_own"])
counter = iter(range(10**9))


def listed(case):
    def pair(found):
        return [value for value, _ in found], [one for _, one in found]

    return Case(list[case.kind], st.lists(case.values, max_size=3).map(pair))


def optional(case):
    return Case(case.kind | None, case.values | st.just((None, None)))


def paired(case):
    return Case(
        tuple[case.kind, str],
        st.tuples(case.values, texts).map(lambda one: ((one[0][0], one[1]), [one[0][1], one[1]])),
    )


@st.composite
def classes(draw, cases, makers):
    """A class with fields of random types."""
    make = draw(st.sampled_from(makers))
    fields = draw(st.dictionaries(names, cases, min_size=1, max_size=3))
    if make in (of_named_tuple, of_pydantic):  # they have no fields with an underscore
        fields.pop("_own", None)
    types = {name: case.kind for name, case in fields.items()}
    try:
        kind = make(draw(st.sampled_from(["Label", "Page"])), types)
    except pydantic.errors.PydanticUserError:  # it knows no attrs classes
        reject()
    written = {name: name.lstrip("_") if make is of_attrs else name for name in fields}

    def pair(found):
        value = kind(**{written[name]: one for name, (one, _) in found.items()})
        return value, {written[name]: one for name, (_, one) in found.items()}

    values = {name: case.values for name, case in fields.items()}
    return Case(kind, st.fixed_dictionaries(values).map(pair))


def of_attrs(title, types):
    fields = {name: attrs.field(type=kind) for name, kind in types.items()}
    return attrs.make_class(title, fields, frozen=True)


def of_dataclasses(title, types):
    return dataclasses.make_dataclass(title, types.items())


def of_named_tuple(title, types):
    return NamedTuple(title, list(types.items()))


def of_typed_dict(title, types):
    return TypedDict(title, types)


def of_pydantic(title, types):
    return pydantic.create_model(title, **{name: (kind, ...) for name, kind in types.items()})


MAKERS = [of_attrs, of_dataclasses, of_named_tuple, of_typed_dict]
any_case = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: (
        inner.map(listed)
        | inner.map(optional)
        | inner.map(paired)
        | classes(inner, [*MAKERS, of_pydantic])
    ),
    max_leaves=6,
)
# Strict schemas say of a tuple, a date and so on only in words what the built-in provider reads.
plain_case = st.recursive(
    st.sampled_from([case for case in SCALARS if case.kind not in (dt.date, dt.datetime, Decimal)]),
    lambda inner: inner.map(listed) | inner.map(optional) | classes(inner, MAKERS),
    max_leaves=6,
)


@given(st.data(), any_case)
def test_a_value_survives_the_way_to_json_and_back(data, case):
    result = ResultType(case.kind)
    schema = result.output.schema
    check_strict(schema)
    value, written = data.draw(case.values)
    whole = written if result.output.name in ("Label", "Page") else {"value": written}
    assert conforms(whole, schema)
    assert result.read(json.dumps(whole)) == value
    if whole is written or not conforms(written, schema):
        assert result.read(json.dumps(written)) == value


@given(plain_case, st.integers(0, 1000))
def test_what_the_built_in_provider_makes_of_a_schema_is_a_value_of_the_class(case, seed):
    result = ResultType(case.kind)
    made = value_for(result.output.schema, str, random.Random(seed))
    assert conforms(made, result.output.schema)
    result.read(json.dumps(made))


KINDS = [
    *(case.kind for case in SCALARS),
    *(list[int], set[tuple[int, str]], dict[int, Colour], Colour | None),
    of_attrs("Label", {"first": list[Grade], "kind": str | None}),
    of_pydantic("Label", {"first": list[Grade], "kind": int | None}),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from(["a", "red"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(KINDS), json_values.map(json.dumps) | st.text(max_size=20))
def test_any_text_is_a_value_or_invalid(kind, text):
    with contextlib.suppress(InvalidResult):
        result_type(kind).read(text)
