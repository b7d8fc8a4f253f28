"""What tests of OpenTelemetry use: an observer that keeps its spans, and span trees as text."""

import json
from functools import partial

from fakes import MODEL, URL, outcomes
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callsheet.actors import Endpoint, Request, TroupeSettings
from callsheet.otel import OpenTelemetry

STREAM = {"content-type": "text/event-stream"}


class Telemetry:
    """Providers that keep spans and metrics, and the observer that uses them."""

    def __init__(self, *, sampler=None, **more):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.observer = OpenTelemetry(self.tracers, self.meters, **more)
        self.tracer = self.tracers.get_tracer("test")

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def one(self, name):
        """Return the only span with a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def call(self, id_):
        """Return the span of the call with an id."""
        (found,) = [span for span in self.spans if span.attributes.get("callsheet.call.id") == id_]
        return found

    def attempts(self, call):
        return [
            span
            for span in self.spans
            if span.parent is not None and span.parent.span_id == call.context.span_id
        ]

    def tree(self, show=lambda span: span.name):
        """Return the spans as nested lists, in order of their start."""
        children = {}
        for span in sorted(self.spans, key=lambda span: span.start_time):
            parent = None if span.parent is None else span.parent.span_id
            children.setdefault(parent, []).append(span)

        def below(id_):
            found = []
            for span in children.get(id_, ()):
                under = below(span.context.span_id)
                found.append([show(span), *under] if under else show(span))
            return found

        return below(None)

    def metrics(self):
        """Return {name: [(attributes, value)]}; the value of a histogram is (count, sum)."""
        data, found = self.reader.get_metrics_data(), {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = [
                        (
                            dict(point.attributes),
                            (point.count, point.sum) if hasattr(point, "sum") else point.value,
                        )
                        for point in metric.data.data_points
                    ]
        return found

    def settings(self, transport, **more):
        more.setdefault("endpoint", Endpoint(URL))
        more.setdefault("prompt_caching", "off")
        return TroupeSettings(transport=transport, observer=self.observer, **more)

    async def ask_all(self, troupe, *requests, **more):
        """Make calls "a", "b" and so on at the same time, each under a span of its own name."""

        async def ask(request, id_):
            with self.tracer.start_as_current_span(f"caller of {id_}"):
                return await troupe.complete(request, call=id_, **more)

        names = "abcdefgh"
        return await outcomes(
            *(partial(ask, request, name) for name, request in zip(names, requests, strict=False))
        )


def links_of(span):
    return {link.context.span_id for link in span.links}


def chat(prompt="Hi", **more):
    return Request.of(prompt, model=MODEL, **more)


def events(*texts):
    """The pieces of a streamed response."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})
    lines = [json.dumps({"id": "1", "model": MODEL} | chunk) for chunk in chunks]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
