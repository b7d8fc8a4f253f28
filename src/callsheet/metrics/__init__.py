"""Metrics of a troupe for Prometheus. It needs prometheus_client, an optional extra.

`Metrics` is what `TroupeSettings(metrics=...)` takes; docs/observability.md lists every metric.
"""

from ..actors import how_to_install

try:
    import prometheus_client as _  # noqa: F401  # the modules below need it
except ImportError as error:
    how = how_to_install("metrics")
    raise ImportError(f"callsheet.metrics needs prometheus-client; {how}") from error

from ..serving import CannotServe
from .exposition import Exposition
from .families import FAMILIES, MetricFamily
from .metrics import Metrics, serve
from .server import ScrapeApp

__all__ = [
    "FAMILIES",
    "CannotServe",
    "Exposition",
    "MetricFamily",
    "Metrics",
    "ScrapeApp",
    "serve",
]
