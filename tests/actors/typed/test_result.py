"""Texts of models, read as values of declared classes (issue 18, point 7)."""

import dataclasses
import datetime as dt
import enum
import json
from decimal import Decimal
from typing import Annotated, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from strictness import check_strict

from callsheet.actors.typed import InvalidResult, ResultType, result_type


@attrs.frozen
class Label:
    """What a review says.

    Args:
        sentiment: not for the model.
    """

    sentiment: Literal["positive", "negative", "neutral"]
    confidence: float = attrs.field(
        default=0.5, validator=[attrs.validators.ge(0), attrs.validators.le(1)]
    )


def read(kind, value):
    """Read a value as a model that follows the schema would write it."""
    return result_type(kind).read(json.dumps(value))


# ------------------------------------------------------------------------------- classes


def test_the_schema_has_the_classes_name_and_the_first_paragraph_of_its_docstring():
    output = result_type(Label).output
    check_strict(output.schema)
    assert (output.name, output.not_strict, output.is_recursive) == ("Label", "", False)
    assert output.schema["description"] == "What a review says."


@attrs.define
class Converted:
    _name: str = attrs.field(converter=str.strip)
    tags: tuple[str, ...] = attrs.field(converter=tuple, factory=tuple)
    length: int = attrs.Factory(lambda self: len(self._name), takes_self=True)
    cached: int = attrs.field(init=False, default=7)


def test_an_attrs_class_is_built_by_its_constructor():
    assert read(Converted, {"name": " tea ", "tags": ["a"]}) == Converted("tea", ["a"])
    assert read(Converted, {"name": "tea", "tags": None, "length": None}).length == 3


@dataclasses.dataclass
class Range:
    low: int
    high: int
    scale: dataclasses.InitVar[int] = 1
    names: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self, scale):
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        self.low, self.high = self.low * scale, self.high * scale


def test_a_dataclass_is_built_by_its_constructor():
    assert read(Range, {"low": 1, "high": 2, "scale": 10}) == Range(1, 2, 10)
    with pytest.raises(InvalidResult, match=r"low must not exceed high - at `\$`"):
        read(Range, {"low": 3, "high": 2})


class Point(NamedTuple):
    x: int
    y: int = 0


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Nested:
    label: Label
    points: list[Point]
    movies: dict[str, Movie]
    colour: Colour
    at: dt.datetime
    price: Decimal
    pair: tuple[int, str]


def test_classes_inside_a_class_are_built_too():
    value = {
        "label": {"sentiment": "neutral", "confidence": None},
        "points": [{"x": 1, "y": None}, {"x": 2, "y": 3}],
        "movies": {"a": {"title": "Ran", "year": None}},
        "colour": "red",
        "at": "2026-01-02T03:04:05Z",
        "price": "1.10",
        "pair": [1, "a"],
    }
    assert read(Nested, value) == Nested(
        Label("neutral"),
        [Point(1), Point(2, 3)],
        {"a": {"title": "Ran"}},
        Colour.RED,
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        Decimal("1.10"),
        (1, "a"),
    )
    assert result_type(Nested).output.not_strict == "result.movies is an object with arbitrary keys"


@attrs.frozen
class Entry:
    value: int | None
    next: int | None = None


@attrs.frozen
class Node:
    value: int
    next: "Node | None" = None


def test_a_class_may_contain_itself():
    output = result_type(Node).output
    check_strict(output.schema)
    assert output.is_recursive
    assert read(Node, {"value": 1, "next": {"value": 2, "next": None}}) == Node(1, Node(2))


OuterNode = Node  # for a class of the same name


@attrs.frozen
class Cat:
    kind: Literal["cat"]
    lives: int = 9


@attrs.frozen
class Dog:
    kind: Literal["dog"]


@attrs.frozen
class Text:
    text: str


class Other(msgspec.Struct):
    number: int = 1


@attrs.frozen
class Pets:
    pet: Cat | Dog | None
    content: Text | Point


def test_classes_of_a_union_are_told_apart_by_a_shared_or_an_added_member():
    check_strict(result_type(Pets).output.schema)
    value = {"pet": {"kind": "cat", "lives": None}, "content": {"type": "Point", "x": 1, "y": 2}}
    assert read(Pets, value) == Pets(Cat("cat"), Point(1, 2))
    value = {"pet": None, "content": {"type": "Text", "text": "a"}}
    assert read(Pets, value) == Pets(None, Text("a"))


T = TypeVar("T")
Score = NewType("Score", float)


@attrs.frozen
class Page(Generic[T]):
    items: list[T]
    score: Score


def test_a_generic_class_has_a_schema_for_each_of_its_types():
    assert result_type(Page[Label]).output.name == "Page_Label"
    value = {"items": [{"sentiment": "neutral", "confidence": 1}], "score": 2}
    assert read(Page[Label], value) == Page([Label("neutral", 1.0)], 2.0)
    with pytest.raises(InvalidResult, match="Expected `int`"):
        read(Page[int], {"items": ["a"], "score": 1})


@attrs.frozen
class Book(Page[list[T]]):
    title: T


@attrs.frozen
class Numbers(Page[int]):
    pass


@attrs.frozen
class Shelf(Generic[T]):
    books: list[Page[dict[str, T]]]


def test_a_generic_class_may_be_a_base_or_a_part_of_another():
    value = {"items": [["a"], ["b"]], "score": 1, "title": "x"}
    assert read(Book[str], value) == Book([["a"], ["b"]], 1.0, "x")
    with pytest.raises(InvalidResult, match="Expected `int`, got `str`"):
        read(Book[int], value | {"title": 1})
    assert read(Numbers, {"items": [1], "score": 1}) == Numbers([1], 1.0)
    with pytest.raises(InvalidResult, match="Expected `int`, got `str`"):
        read(Numbers, {"items": ["a"], "score": 1})
    value = {"books": [{"items": [{"a": 1}], "score": 1}]}
    assert read(Shelf[int], value) == Shelf([Page([{"a": 1}], 1.0)])
    with pytest.raises(InvalidResult, match="Expected `str`, got `int`"):
        read(Shelf[str], value)


def test_two_classes_of_one_name_have_a_definition_each():
    @attrs.frozen
    class Node:
        inner: list[OuterNode]
        leaf: Label

    schema = result_type(Node).output.schema
    check_strict(schema)
    assert len(schema["$defs"]) == 2
    inner = {"value": 1, "next": {"value": 2, "next": None}}
    value = {"inner": [inner], "leaf": {"sentiment": "neutral", "confidence": 1}}
    assert read(Node, value) == Node([OuterNode(1, OuterNode(2))], Label("neutral", 1.0))


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    when: dt.date
    count: int = pydantic.Field(3, ge=0)
    inner: "Model | None" = None


@attrs.frozen
class WithModel:
    models: list[Model]
    other: Other


def test_a_pydantic_model_validates_itself():
    check_strict(result_type(Model).output.schema)
    value = {"when": "2026-01-02", "count": None, "inner": None}
    expected = Model(when=dt.date(2026, 1, 2))
    assert read(Model, value) == expected
    assert read(WithModel, {"models": [value], "other": {"number": None}}) == WithModel(
        [expected], Other()
    )
    with pytest.raises(InvalidResult, match=r"greater than or equal to 0 - at `\$\.count`"):
        read(Model, {**value, "count": -1})


# --------------------------------------------------------------------------- other types


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 3),
        (bool, True),
        (str, "a"),
        (Literal["a", "b"], "b"),
        (list[int], [1, 2]),
        (int | None, None),
        (Annotated[int, msgspec.Meta(ge=1)], 1),
    ],
)
def test_what_is_no_object_is_the_member_of_one(kind, value):
    output = ResultType(kind).output
    check_strict(output.schema)
    assert list(output.schema["properties"]) == ["value"]
    assert read(kind, {"value": value}) == value
    assert read(kind, value) == value


def test_a_list_of_a_class_is_read_with_and_without_the_object_around_it():
    value = [{"sentiment": "neutral", "confidence": 1}]
    assert read(list[Label], {"value": value}) == read(list[Label], value) == [Label("neutral", 1)]
    kind = Cat | Dog
    assert read(kind, {"value": {"kind": "dog"}}) == read(kind, {"kind": "dog"}) == Dog("dog")


class Boxed(TypedDict):
    value: int


def test_an_object_with_the_member_of_the_one_around_it_is_read_both_ways():
    kind = Boxed | None
    assert read(kind, {"value": {"value": 1}}) == read(kind, {"value": 1}) == {"value": 1}
    with pytest.raises(InvalidResult, match=r"Expected `int`, got `str` - at `\$.value`"):
        read(int, {"value": "a"})


def test_a_member_named_value_beside_others_is_no_object_around_the_result():
    bare = {"value": None, "next": None}
    assert read(Entry | None, bare) == read(Entry | None, {"value": bare}) == Entry(None)
    assert read(Entry | None, {"value": None}) is None


def test_an_object_with_arbitrary_keys_is_described_but_not_strict():
    output = result_type(dict[str, int]).output
    assert output.not_strict == "result is an object with arbitrary keys"
    assert read(dict[str, int], {"a": 1}) == {"a": 1}


# --------------------------------------------------------------------------------- texts

GOOD = '{"sentiment": "neutral", "confidence": 1}'


@pytest.mark.parametrize(
    "text",
    [
        f" {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\n",
        f"Here is the result:\n\n```json\n{GOOD}\n```\nAnything else?",
        f"\ufeff{GOOD}",
        f"<think>\nIs it {{}}?\n</think>\n\n{GOOD}",
        '{"sentiment": "neutral", "confidence": 1, "more": 2}',
    ],
)
def test_json_is_found_where_it_is_the_only_one(text):
    assert result_type(Label).read(text) == Label("neutral", 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the text is empty"),
        ("Neutral.", "the text is no JSON"),
        (GOOD[:-4], "the text is no JSON: Input data was truncated"),
        (f"```json\n{GOOD}\n```\n```json\n{GOOD}\n```", "the text is no JSON"),
        ("[" * 100_000, "the text is no JSON"),
        (GOOD.replace("1", "NaN"), "the text is no JSON"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "Object missing required field `sentiment`"),
        (GOOD.replace("neutral", "mixed"), r"Invalid enum value 'mixed' - at `\$.sentiment`"),
        (GOOD.replace("1", '"1"'), r"Expected `float`, got `str` - at `\$.confidence`"),
        (GOOD.replace("1", "2"), r"'confidence' must be <= 1: 2.0 - at `\$`"),
        (GOOD.replace('"neutral"', "null"), r"Expected `str`, got `null` - at `\$.sentiment`"),
    ],
)
def test_what_does_not_match_is_refused_with_the_place_and_the_reason(text, reason):
    with pytest.raises(InvalidResult, match=reason):
        result_type(Label).read(text)


# ------------------------------------------------------------------------------- refused


@attrs.frozen
class Inner:
    number: complex


@attrs.frozen
class Outer:
    inner: list[Inner]


@attrs.frozen
class Untyped:
    name = attrs.field()


class Plain:
    name: str


@attrs.frozen
class Unknown:
    name: "Nowhere"  # noqa: F821


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Outer, "Inner.number has no JSON schema: type <class 'complex'> is not supported"),
        (Untyped, "Untyped.name has no type"),
        (Unknown, "Unknown has a field with an unknown type: name 'Nowhere' is not defined"),
        (list[int] | tuple[str], "may not contain more than one array-like"),
        ("Label", "has no JSON schema"),
        (Plain, "Plain has no JSON schema: .*; make it an attrs class, a dataclass or a pydantic"),
    ],
)
def test_a_type_without_a_schema_is_refused_by_class_and_field(kind, reason):
    with pytest.raises(TypeError, match=reason):
        result_type(kind)
