"""`Tool.of`: the schema of a function, and the arguments that a call of it gets."""

import dataclasses
import datetime as dt
import enum
import json
from functools import partial, wraps
from typing import Annotated, Literal, TypedDict

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Request, Tool, ToolCall
from callsheet.actors.tools.running import InvalidToolCall, read_arguments


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


@attrs.frozen
class Place:
    city: str
    country: str = "NO"


@dataclasses.dataclass
class Span:
    days: int


class Options(TypedDict, total=False):
    wind: bool


def get_weather(
    place: Place,
    span: Span,
    unit: Literal["c", "f"] = "c",
    *,
    kind: Unit = Unit.CELSIUS,
    since: dt.date | None = None,
    options: Options | None = None,
    limit: Annotated[int, msgspec.Meta(ge=1, description="at most so many")] = 5,
    label: Annotated[str, "a label"] = "",
) -> str:
    """Tell the weather.

    Args:
        place: where to look
        unit: of the temperature
        limit: not this description
    """
    return f"{place}{span}{unit}{kind}{since}{options}{limit}{label}"


WEATHER = Tool.of(get_weather)
PLAIN = {"place": {"city": "Oslo"}, "span": {"days": 2}}


def read(tool, **arguments):
    return read_arguments(tool, ToolCall(tool.name, json.dumps(arguments)))


def properties(tool):
    return tool.parameters["properties"]


# ------------------------------------------------------------------------------- the schema


def test_a_tool_has_the_name_and_the_docstring_of_its_function():
    assert (WEATHER.name, WEATHER.description) == ("get_weather", "Tell the weather.")
    assert WEATHER.function is get_weather
    assert WEATHER.parameters["required"] == ["place", "span"]
    named = Tool.of(get_weather, name="weather", description="Ask the sky.")
    assert (named.name, named.description) == ("weather", "Ask the sky.")


def test_parameters_are_described_by_their_annotation_or_by_the_docstring():
    found = {name: one.get("description") for name, one in properties(WEATHER).items()}
    assert found == {
        "place": "where to look",
        "span": None,
        "unit": "of the temperature",
        "kind": None,
        "since": None,
        "options": None,
        "limit": "at most so many",
        "label": "a label",
    }


def test_types_and_defaults_are_in_the_schema():
    found = properties(WEATHER)
    assert found["unit"] == {
        "description": "of the temperature",
        "default": "c",
        "enum": ["c", "f"],
    }
    assert (found["limit"]["minimum"], found["limit"]["default"]) == (1, 5)
    assert found["kind"]["default"] == "celsius"
    assert {"type": "null"} in found["since"]["anyOf"]
    places = WEATHER.parameters["$defs"]["Place"]
    assert places["required"] == ["city"]


def test_a_function_without_parameters_has_a_schema():
    def now() -> str:
        return "12:00"

    assert Tool.of(now).parameters == {"type": "object", "properties": {}, "required": []}


def test_the_strict_form_requires_every_parameter():
    strict = WEATHER.strict_schema
    assert strict["required"] == list(properties(WEATHER))
    assert strict["additionalProperties"] is False
    assert Tool(name="x", parameters={"type": "object"}).strict_schema is None


def test_a_schema_that_has_no_strict_form_is_sent_as_it_is():
    def save(values: dict[str, int]) -> None: ...

    assert Tool.of(save).strict_schema is None


# ----------------------------------------------------------------------- what can be a tool


class Station:
    """A weather station."""

    async def read(self, city: str) -> str:
        """Read the station."""
        return city

    def __call__(self, city: str, days: int = 1) -> str:
        """Ask the station.

        Args:
            city: where it is
        """
        return city * days

    @classmethod
    def find(cls, city: str) -> str:
        """Find one."""
        return city

    @staticmethod
    def count(city: str) -> int:
        """Count them."""
        return len(city)


def logged(function):
    @wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@logged
def decorated(city: "str") -> str:
    """Look."""
    return city


CALLABLES = {
    "read": Station().read,
    "Station": Station(),
    "find": Station.find,
    "count": Station.count,
    "decorated": decorated,
}


@pytest.mark.parametrize("name", CALLABLES)
def test_methods_objects_and_decorated_functions_are_tools(name):
    tool = Tool.of(CALLABLES[name])
    assert (tool.name, tool.parameters["required"]) == (name, ["city"])
    assert tool.description
    assert read(tool, city="Oslo") == {"city": "Oslo"}


def test_the_arguments_of_a_partial_are_not_for_the_model():
    tool = Tool.of(partial(partial(get_weather, limit=3), unit="f"))
    assert tool.name == "get_weather"
    assert not {"limit", "unit"} & properties(tool).keys()
    with pytest.raises(InvalidToolCall, match="no parameter 'limit'"):
        read(tool, **PLAIN, limit=9)


def test_a_request_takes_functions():
    request = Request.of("Hi", model="m", tools=[get_weather, Station().read])
    assert [tool.name for tool in request.tools] == ["get_weather", "read"]
    assert request.tools[0].signature is WEATHER.signature  # it is made once
    with pytest.raises(ValueError, match=r"tools\[1\]: another tool has the name 'get_weather'"):
        Request.of("Hi", model="m", tools=[get_weather, get_weather])


def nothing_said(city, days: int = 1): ...


def any_number(*cities: str): ...


def any_names(**cities: str): ...


def by_position(city: str, /): ...


def untyped_object(thing: object): ...


def unknown_type(city: "Nowhere"): ...  # noqa: F821


def pieces(city: str):
    yield city


async def pieces_later(city: str):
    yield city


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (pieces, "the tool pieces is a generator; let it return a list"),
        (partial(pieces_later, city="Oslo"), "the tool pieces_later is a generator"),
        (nothing_said, "the parameter city of the tool nothing_said has no annotation"),
        (any_number, r"the parameter \*cities of the tool any_number stands for any number"),
        (any_names, r"the parameter \*\*cities of the tool any_names stands for any names"),
        (by_position, "the parameter city of the tool by_position is positional-only"),
        (
            untyped_object,
            "the tool untyped_object cannot be described: untyped_object.thing has no",
        ),
        (unknown_type, "the tool unknown_type has an unknown annotation: name 'Nowhere'"),
        (lambda: None, "name of a tool must be"),
        (len, "the tool len"),
        (print, "the tool print"),
    ],
)
def test_a_function_that_cannot_be_described_is_refused_in_words(function, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Tool.of(function)
    with pytest.raises((TypeError, ValueError), match=r"tools\[0\]"):
        Request.of("Hi", model="m", tools=[function])


# ----------------------------------------------------------------------------- the arguments


def test_arguments_have_the_types_of_the_annotations():
    found = read(WEATHER, **PLAIN, unit="f", kind="kelvin", since="2026-01-31", options={})
    assert found == {
        "place": Place("Oslo"),
        "span": Span(2),
        "unit": "f",
        "kind": Unit.KELVIN,
        "since": dt.date(2026, 1, 31),
        "options": {},
    }


def test_null_stands_for_an_argument_that_is_left_out():
    """In strict mode a model must write every argument."""
    nulls = dict.fromkeys(["unit", "kind", "limit", "label"])
    place = {"city": "Oslo", "country": None}
    found = read(WEATHER, place=place, span={"days": 2}, since=None, options=None, **nulls)
    assert found.pop("place") == Place("Oslo")
    assert {name: value for name, value in found.items() if value is not None} == {"span": Span(2)}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "missing required field `place`"),
        ({"place": {}}, r"missing required field `city` - at `\$.place`"),
        ({"limit": 0}, r"Expected `int` >= 1 - at `\$.limit`"),
        ({"limit": "many"}, r"Expected `int`, got `str` - at `\$.limit`"),
        ({"unit": "k"}, "Invalid enum value 'k'"),
        ({"town": 1}, "there is no parameter 'town'; the parameters are: kind, label"),
    ],
)
def test_arguments_that_do_not_match_are_refused_in_words_for_the_model(wrong, words):
    arguments = {**PLAIN, **wrong} if wrong else {}
    with pytest.raises(
        InvalidToolCall, match=f"the arguments of get_weather do not match: .*{words}"
    ):
        read(WEATHER, **arguments)


# ---------------------------------------------------------------------------- any signature

KINDS = [
    (int, st.integers(-(2**53), 2**53)),
    (bool, st.booleans()),
    (str, st.text(st.characters(codec="utf-8"), max_size=9)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (list[int], st.lists(st.integers(0, 9), max_size=3)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Unit, st.sampled_from(Unit)),
    (int | None, st.none() | st.integers(0, 9)),
    (Place, st.builds(Place, st.text(max_size=3), st.sampled_from(["NO", "SE"]))),
    (dt.datetime, st.datetimes(timezones=st.just(dt.UTC))),
    (dict[str, int], st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2)),
]
NAMES = ["a", "b2", "class_", "_hidden", "value", "type", "\u00e9t\u00e9"]


@st.composite
def calls(draw):
    """Return a function with any parameters, and arguments for it."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    kinds = {name: draw(st.sampled_from(KINDS)) for name in names}
    optional = {name for name in names if draw(st.booleans())}
    arguments = {
        name: draw(values)
        for name, (_, values) in kinds.items()
        if name not in optional or draw(st.booleans())
    }
    made = {}
    parameters = ", ".join(f"{name}=None" if name in optional else name for name in names)
    exec(f"def made(*{',' if names else 'rest'} {parameters}): ...", made)
    function = made["made"]
    if not names:
        exec("def made(): ...", made)
        function = made["made"]
    function.__annotations__ = {name: kind for name, (kind, _) in kinds.items()}
    return function, arguments


@given(calls())
def test_what_a_function_is_given_is_what_the_model_wrote(drawn):
    function, arguments = drawn
    tool = Tool.of(function)
    assert properties(tool).keys() == function.__annotations__.keys()
    written = msgspec.json.encode(arguments).decode()
    found = read_arguments(tool, ToolCall("made", written))
    assert found == arguments
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in arguments.items()
    }


@given(calls(), st.dictionaries(st.sampled_from(NAMES), st.none() | st.text() | st.integers()))
def test_any_arguments_are_read_or_refused(drawn, arguments):
    function, _ = drawn
    tool = Tool.of(function)
    try:
        found = read(tool, **arguments)
    except InvalidToolCall:
        return
    assert found.keys() <= arguments.keys()


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        found = read_arguments(WEATHER, ToolCall("get_weather", text))
    except InvalidToolCall:
        return
    assert found.keys() <= properties(WEATHER).keys()
