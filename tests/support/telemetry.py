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
    """Providers that keep what they are given, for any number of clients one after the other."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._tracers = TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self._meters = MeterProvider([self._reader])

    @contextlib.contextmanager
    def recording(self, client: DirectIO) -> Iterator[None]:
        """Record a client while the block runs."""
        otel.instrument(client, tracer_provider=self._tracers, meter_provider=self._meters)
        try:
            yield
        finally:
            otel.uninstrument(client)

    def take(self) -> list[str]:
        """Return spans and metrics as they would be sent, and forget the spans."""
        spans = [span.to_json() for span in self._exporter.get_finished_spans()]
        self._exporter.clear()
        data = self._reader.get_metrics_data()
        return spans if data is None else [*spans, data.to_json()]

    def close(self) -> None:
        """Shut the providers down."""
        self._tracers.shutdown()
        self._meters.shutdown()


#: For tests that only look for what must not be sent.
telemetry = Telemetry()
