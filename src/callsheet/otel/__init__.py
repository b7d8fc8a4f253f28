"""Traces and metrics of calls for OpenTelemetry: `OpenTelemetry` is an observer of a troupe.

It needs the package `opentelemetry-api` (the extra `otel`). What is recorded, and where it goes, is
configured with the SDK by the program, as for any other library.
"""

from ..actors import how_to_install

try:
    from .names import Naming
    from .observer import OpenTelemetry
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("opentelemetry"):
        raise
    remedy = how_to_install("otel")
    raise ModuleNotFoundError(f"callsheet.otel needs opentelemetry-api; {remedy}") from error

__all__ = ["Naming", "OpenTelemetry"]
