"""OpenTelemetry in memory: what an instrumented client would send to a collector, as text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ctera_direct_sync import DirectIO, otel

__all__ = ["Telemetry", "telemetry"]


class Telemetry:
    """Providers that keep what they are given, for any number of clients.

    Attributes:
        exporter: The spans.
        reader: The metrics.
        tracer_provider: The provider of spans.
        meter_provider: The provider of metrics.
    """

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])

    def instrument(self, client: DirectIO) -> DirectIO:
        """Instrument a client."""
        return otel.instrument(
            client, tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
        )

    @contextlib.contextmanager
    def recording(self, client: DirectIO) -> Iterator[None]:
        """Record a client while the block runs."""
        self.instrument(client)
        try:
            yield
        finally:
            otel.uninstrument(client)

    def take(self) -> list[str]:
        """Return spans and metrics as they would be sent, and forget the spans."""
        spans = [span.to_json() for span in self.exporter.get_finished_spans()]
        self.exporter.clear()
        data = self.reader.get_metrics_data()
        return spans if data is None else [*spans, data.to_json()]

    def close(self) -> None:
        """Shut the providers down."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


#: For tests that only look for what must not be sent.
telemetry = Telemetry()
