"""Results of a declared class: JSON schemas, validation, and the second request after a failure."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .schema import json_schema_of
    from .strict import NotStrict, strict_schema
else:
    __getattr__, __dir__ = lazy_names(
        __name__, schema="json_schema_of", strict="NotStrict strict_schema"
    )

__all__ = ["NotStrict", "json_schema_of", "strict_schema"]
