"""Results of a declared class: JSON schemas for the provider, and validation of what it returns."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .matching import matches_schema as matches_schema
    from .output import OutputSchema as OutputSchema
    from .result import InvalidResult as InvalidResult
    from .result import ResultType as ResultType
    from .result import SchemaResult as SchemaResult
    from .result import class_of_output as class_of_output
    from .result import class_of_schema as class_of_schema
    from .result import is_read_elsewhere as is_read_elsewhere
    from .result import read_json as read_json
    from .result import result_columns as result_columns
    from .result import result_members as result_members
    from .result import result_type as result_type
    from .schema import json_schema_of as json_schema_of
    from .strict import NotStrict as NotStrict
    from .strict import strict_schema as strict_schema
