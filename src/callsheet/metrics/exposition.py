"""Writes samples in the text formats that Prometheus reads."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import final

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .families import FAMILIES, MetricFamily
from .samples import Labels, Sample

TROUPE = "troupe"
"""The label with the name of a troupe, where several have one `Metrics`."""


@attrs.frozen
class Exposition:
    """The answer to one scrape.

    Args:
        body: the text, in UTF-8.
        content_type: the value of the header `Content-Type`.
    """

    body: bytes
    content_type: str


@final
class SampleCollector(Collector):
    """Hands samples to a `CollectorRegistry`. It can be read in any thread.

    Args:
        read: returns the samples of this moment.
    """

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Return every metric without samples, so that a registry can refuse duplicates."""
        return [_metric(family, ()) for family in FAMILIES.values()]

    def collect(self) -> Iterator[Metric]:
        """Yield each metric that has samples, in the order of `FAMILIES`."""
        by_family: defaultdict[str, list[Sample]] = defaultdict(list)
        for sample in self._read():
            by_family[sample.family].append(sample)
        for name, family in FAMILIES.items():
            if name in by_family:
                yield _metric(family, by_family[name])


def expose(samples: Iterable[Sample], accept: str = "") -> Exposition:
    """Return samples in the format that a scraper accepts.

    Args:
        samples: the series of this moment.
        accept: the header `Accept` of the scrape: OpenMetrics if it names that, else the plain
            text format.
    """
    known = tuple(samples)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SampleCollector(lambda: known))
    encode, content_type = choose_encoder(accept)
    return Exposition(encode(registry), content_type)


def _metric(family: MetricFamily, samples: Iterable[Sample]) -> Metric:
    several = tuple(samples)
    names = family.labels
    if is_named := any(sample.troupe for sample in several):
        names = (*names, TROUPE)

    def values(sample: Sample) -> Labels:
        return (*sample.labels, sample.troupe) if is_named else sample.labels

    match family.kind:
        case "counter":
            counter = CounterMetricFamily(family.name, family.help, labels=names)
            for sample in several:
                counter.add_metric(values(sample), sample.value)
            return counter
        case "gauge":
            gauge = GaugeMetricFamily(family.name, family.help, labels=names)
            for sample in several:
                gauge.add_metric(values(sample), sample.value)
            return gauge
        case "info":
            info = InfoMetricFamily(family.name, family.help)
            for sample in several:
                info.add_metric((), dict(zip(family.labels, sample.labels, strict=True)))
            return info
        case "histogram":
            histogram = HistogramMetricFamily(family.name, family.help, labels=names)
            bounds = [*map(str, family.buckets), "+Inf"]
            for sample in several:
                buckets = list(zip(bounds, map(float, sample.buckets), strict=True))
                histogram.add_metric(values(sample), buckets, sample.value)
            return histogram
