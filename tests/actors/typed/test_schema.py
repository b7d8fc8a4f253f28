"""JSON schemas of the classes that people declare as results (issue 18, point 7)."""

import dataclasses
import subprocess
import sys
from typing import Annotated, Literal, NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pytest

from callsheet.actors.typed import json_schema_of, strict_schema


@attrs.frozen
class AttrsLabel:
    sentiment: Literal["positive", "negative"]
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


@dataclasses.dataclass
class DataLabel:
    sentiment: Literal["positive", "negative"]
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class StructLabel(msgspec.Struct):
    sentiment: Literal["positive", "negative"]
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class TupleLabel(NamedTuple):
    sentiment: Literal["positive", "negative"]
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class DictLabel(TypedDict):
    sentiment: Literal["positive", "negative"]


class ModelLabel(pydantic.BaseModel):
    sentiment: Literal["positive", "negative"]
    confidence: float = pydantic.Field(1.0, ge=0, le=1)


@pytest.mark.parametrize("kind", [AttrsLabel, DataLabel, StructLabel, ModelLabel])
def test_a_class_has_the_same_strict_schema_whichever_library_made_it(kind):
    assert strict_schema(json_schema_of(kind)) == {
        "type": "object",
        "properties": {
            "sentiment": {"type": "string", "enum": ["negative", "positive"]}
            if kind is not ModelLabel
            else {"type": "string", "enum": ["positive", "negative"]},
            "confidence": {
                "anyOf": [{"type": "number"}, {"type": "null"}],
                "description": "minimum: 0, maximum: 1 (null means 1.0)",
            },
        },
        "required": ["sentiment", "confidence"],
        "additionalProperties": False,
    }


def test_a_typed_dict_has_a_schema():
    schema = strict_schema(json_schema_of(DictLabel))
    assert schema["required"] == ["sentiment"]


class Part(pydantic.BaseModel):
    label: ModelLabel


@attrs.frozen
class Whole:
    parts: list[Part]


def test_definitions_of_a_pydantic_model_in_another_class_are_at_the_root():
    schema = json_schema_of(Whole)
    assert set(schema["$defs"]) == {"ModelLabel"}
    (part,) = strict_schema(schema)["properties"].values()
    assert part["items"]["properties"] == {"label": {"$ref": "#/$defs/ModelLabel"}}


@pytest.mark.parametrize("kind", [complex, "Label", list[complex], lambda: None])
def test_a_type_without_a_schema_is_refused(kind):
    with pytest.raises(TypeError, match="has no JSON schema"):
        json_schema_of(kind)


def test_pydantic_is_not_imported_for_other_classes():
    program = """
import sys, attrs
from callsheet.actors.typed import json_schema_of
@attrs.frozen
class Label:
    name: str
json_schema_of(Label)
sys.exit("pydantic" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
