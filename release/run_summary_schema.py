"""Write `docs/run-summary.schema.json`, the JSON schema of what `callsheet run --json` writes.

    uv run python release/run_summary_schema.py

The members and their descriptions are those of the class `RunSummary`.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from callsheet.cli.run import json_summary

SCHEMA = Path(__file__).parent.parent / "docs" / "run-summary.schema.json"
_ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def run_summary_schema() -> str:
    """Return the text of the schema."""
    made: dict[str, Any] = msgspec.json.schema(json_summary.RunSummary)
    for name, one in made["$defs"].items():
        doc = inspect.getdoc(getattr(json_summary, name)) or ""
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
    SCHEMA.write_text(run_summary_schema(), encoding="utf-8")
