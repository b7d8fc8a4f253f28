"""What arrives at a collector by OTLP: an exporter of the SDK sends it to a small HTTP server."""

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from door_fakes import Provider, request, settings_for
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from callsheet import sync
from callsheet.otel import OpenTelemetry

MESSAGES = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}


@contextmanager
def open_collector():
    """Serve a collector; yield its URL and the messages that it gets, {path: [message]}."""
    found = {path: [] for path in MESSAGES}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            found[self.path].append(MESSAGES[self.path].FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", found
        finally:
            server.shutdown()
            thread.join()


def values(attributes):
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value"))
        for one in attributes
        if one.value.WhichOneof("value") != "array_value"
    }


@pytest.mark.sockets
def test_a_collector_gets_spans_and_metrics_by_otlp():
    with open_collector() as (url, found):
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
        exporter = OTLPMetricExporter(f"{url}/v1/metrics")
        meters = MeterProvider([PeriodicExportingMetricReader(exporter)], shutdown_on_exit=False)
        settings = settings_for(Provider(), observer=OpenTelemetry(tracers, meters, content=True))
        with sync.open_troupe(settings) as troupe:
            troupe.complete(request("say odd \udc80", max_tokens=50), call="odd \udc80")
        tracers.shutdown()
        meters.shutdown()
    spans = [
        span
        for message in found["/v1/traces"]
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    attempt, call = sorted(spans, key=lambda span: span.name)
    assert (attempt.name, call.name) == ("POST", "chat gpt-4o")
    assert attempt.parent_span_id == call.span_id
    attributes = values(call.attributes)
    assert attributes["callsheet.call.id"] == "odd ?"
    assert attributes["gen_ai.usage.input_tokens"] == 3
    assert "odd" in attributes["gen_ai.input.messages"]
    metrics = {
        metric.name: metric
        for message in found["/v1/metrics"]
        for resource in message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    (point,) = metrics["gen_ai.client.inference.duration"].histogram.data_points
    assert point.count == 1
    assert values(point.attributes)["gen_ai.request.model"] == "gpt-4o"
    (calls,) = metrics["callsheet.calls"].sum.data_points
    assert calls.as_int == 1
