"""The JSON schemas in docs/schemas/: each is that of the classes, and says what each member is."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MADE = runpy.run_path(str(ROOT / "release/json_schemas.py"))
NAMES = sorted(MADE["SCHEMAS"])


def read(name):
    return json.loads(MADE["path_of"](name).read_text())


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_made_from_the_classes(name):
    assert MADE["path_of"](name).read_text() == MADE["schema_of"](name), (
        "run release/json_schemas.py"
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_class_and_each_member_has_a_description(name):
    for kind in read(name)["$defs"].values():
        assert kind["description"].endswith(".")
        for member in kind["properties"].values():
            assert member["description"].endswith(".")


def test_there_is_no_other_file():
    found = (ROOT / "docs/schemas").iterdir()
    assert sorted(path.name for path in found) == [f"{name}.schema.json" for name in NAMES]
