"""Results of a declared class: JSON schemas for the provider, and validation of what it returns."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .matching import matches_schema
    from .output import OutputSchema
    from .result import (
        InvalidResult,
        ResultType,
        SchemaResult,
        class_of_schema,
        read_json,
        result_columns,
        result_members,
        result_type,
    )
    from .schema import json_schema_of
    from .strict import NotStrict, strict_schema
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        matching="matches_schema",
        output="OutputSchema",
        result="InvalidResult ResultType SchemaResult class_of_schema read_json result_columns"
        " result_members result_type",
        schema="json_schema_of",
        strict="NotStrict strict_schema",
    )

__all__ = [
    "InvalidResult",
    "NotStrict",
    "OutputSchema",
    "ResultType",
    "SchemaResult",
    "class_of_schema",
    "json_schema_of",
    "matches_schema",
    "read_json",
    "result_columns",
    "result_members",
    "result_type",
    "strict_schema",
]
