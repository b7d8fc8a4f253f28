"""Results of a declared class: JSON schemas for the provider, and validation of what it returns."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .matching import matches_schema
    from .output import OutputSchema
    from .result import InvalidResult, ResultType, read_json, result_type
    from .schema import json_schema_of
    from .strict import NotStrict, strict_schema
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        matching="matches_schema",
        output="OutputSchema",
        result="InvalidResult ResultType read_json result_type",
        schema="json_schema_of",
        strict="NotStrict strict_schema",
    )

__all__ = [
    "InvalidResult",
    "NotStrict",
    "OutputSchema",
    "ResultType",
    "json_schema_of",
    "matches_schema",
    "read_json",
    "result_type",
    "strict_schema",
]
