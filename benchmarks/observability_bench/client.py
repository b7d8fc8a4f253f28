"""One client whose troupe has an observer or metrics, which makes calls whenever it is told to.

    python -m observability_bench.client recorded http://127.0.0.1:8000/v1 --in-flight 50

makes one window for each line on its standard input, and prints a `Stretch` as JSON.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
import click
import trio

import callsheet
from aio_bench.client import Counting
from aio_bench.ways import Plan, calls_of
from bench_kit.sampling import settle
from callsheet.actors import Observer, ignore, log_call
from callsheet.metrics import Metrics

__all__ = [
    "IDLE",
    "LOGGED",
    "METRICS",
    "NONE",
    "OBSERVERS",
    "PROMETHEUS",
    "RECORDED",
    "SAMPLED_OUT",
    "SCRAPED",
    "WAYS",
]

NONE: Final = "no observer"
IDLE: Final = "OpenTelemetry without the SDK"
SAMPLED_OUT: Final = "spans sampled out"
RECORDED: Final = "spans and metrics recorded"
METRICS: Final = "metrics recorded, no spans"
LOGGED: Final = "log_call, to nowhere"
PROMETHEUS: Final = "Prometheus metrics, not scraped"
SCRAPED: Final = "Prometheus metrics, scraped 5 times a second"

_SCRAPE_S = 0.2  # Prometheus scrapes every 15 seconds; a window is shorter


def _idle() -> Observer:
    from callsheet.otel import OpenTelemetry  # noqa: PLC0415  # of this way only

    return OpenTelemetry()


def _with_sdk(*, share: float, metrics: bool) -> Observer:
    """Return an observer whose spans are batched for an exporter that drops them."""
    from opentelemetry.metrics import NoOpMeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    from callsheet.otel import OpenTelemetry  # noqa: PLC0415

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
            return SpanExportResult.SUCCESS

    tracers = TracerProvider(sampler=ParentBasedTraceIdRatio(share))
    tracers.add_span_processor(BatchSpanProcessor(Nowhere()))
    meters = MeterProvider([InMemoryMetricReader()]) if metrics else NoOpMeterProvider()
    return OpenTelemetry(tracers, meters)


def _log_nowhere() -> Observer:
    import structlog  # noqa: PLC0415

    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    return log_call


OBSERVERS: Mapping[str, Callable[[], Observer]] = {
    NONE: lambda: ignore,
    IDLE: _idle,
    SAMPLED_OUT: lambda: _with_sdk(share=0.0, metrics=False),
    METRICS: lambda: _with_sdk(share=0.0, metrics=True),
    RECORDED: lambda: _with_sdk(share=1.0, metrics=True),
    LOGGED: _log_nowhere,
}
"""What makes each observer."""

WAYS = (*OBSERVERS, PROMETHEUS, SCRAPED)
"""Every way to listen to calls, or not to."""


async def run(way: str, plan: Plan, seconds: float) -> None:
    """Make a window for each line on the standard input.

    Args:
        way: one of `WAYS`.
        plan: the calls.
        seconds: the least length of a window.
    """
    metrics = Metrics() if way in (PROMETHEUS, SCRAPED) else None
    observer = OBSERVERS[way]() if metrics is None else ignore
    settings = attrs.evolve(plan.settings, observer=observer, metrics=metrics)
    async with trio.open_nursery() as scraper, callsheet.open_troupe(settings) as troupe:
        if metrics is not None and way == SCRAPED:
            scraper.start_soon(_keep_scraping, metrics)
        call = calls_of(troupe, plan)
        while await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            settle()
            counting = Counting(plan.in_flight, seconds)
            async with trio.open_nursery() as nursery:
                for _ in range(plan.in_flight):
                    nursery.start_soon(counting.keep_calling, call)
            counting.report()
        scraper.cancel_scope.cancel()


async def _keep_scraping(metrics: Metrics) -> None:
    while True:
        await metrics.exposition()
        await trio.sleep(_SCRAPE_S)


@click.command()
@click.argument("way", type=click.Choice(WAYS))
@click.argument("base_url")
@click.option("--in-flight", type=click.IntRange(1), required=True)
@click.option("--seconds", type=float, default=0.4, help="The least length of a window.")
@click.option("--streams", is_flag=True, help="Read responses piece by piece.")
def main(way: str, base_url: str, *, in_flight: int, seconds: float, streams: bool) -> None:
    """Make a window of calls for each line on the standard input."""
    trio.run(run, way, Plan(base_url, in_flight, streams), seconds)


if __name__ == "__main__":
    main()
