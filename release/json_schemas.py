"""Write the JSON schemas of what commands print, `docs/*.schema.json`.

    uv run python release/json_schemas.py

`run-summary` is what `callsheet run --json` prints, `reading` what `callsheet top --json` prints.
Members and descriptions are those of the classes.
"""

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from callsheet.actors import Reading
from callsheet.cli.run import json_summary

DOCS = Path(__file__).parent.parent / "docs"
_ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def schema_of(kind: type) -> str:
    """Return the text of the schema of a class.

    Args:
        kind: a class of values; those that it contains are defined in the same module.
    """
    module = sys.modules[kind.__module__]
    made: dict[str, Any] = msgspec.json.schema(kind)
    for name, one in made["$defs"].items():
        doc = inspect.getdoc(getattr(module, name)) or ""
        about = {key: " ".join(text.split()) for key, text in _ARGUMENT.findall(doc)}
        one["description"] = doc.partition("\n")[0]
        one["required"] = list(about)
        one["properties"] = {
            key: {"description": text} | _without_default(one["properties"][key])
            for key, text in about.items()
        }
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
    return f"{json.dumps(made, indent=2)}\n"


def _without_default(member: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in member.items() if key != "default"}


if __name__ == "__main__":
    for name, kind in (("run-summary", json_summary.RunSummary), ("reading", Reading)):
        path = DOCS / f"{name}.schema.json"
        path.write_text(schema_of(kind), encoding="utf-8")
