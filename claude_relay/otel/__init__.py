"""
Traces by OpenTelemetry, to a collector over HTTP. Needs the extra `otel`.

Nothing here is imported unless OTEL_EXPORTER_OTLP_ENDPOINT is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..ports import Span

_KINDS = {"server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT, "internal": trace.SpanKind.INTERNAL}
_PROPAGATOR = TraceContextTextMapPropagator()
#: Longest wait for the collector at a stop, in milliseconds.
_FLUSH = 5_000


class OtelSpan:
    """Implements `ports.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """The header that makes this span the parent of another."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span))

        return carrier.get("traceparent")

    def set(self, attributes: dict[str, Any]) -> None:
        """Add attributes; those without a value are left out."""
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def end(self, *, error: str | None = None, at: float | None = None) -> None:
        """End the span, with an error type if it failed."""
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(trace.StatusCode.ERROR, error)
        self._span.end(None if at is None else int(at * 1e9))


class OtelTracer:
    """Implements `ports.Tracer`. Spans are sent in a thread, and dropped while the collector is away."""

    def __init__(self, *, service: str, version: str, endpoint: str, headers: Mapping[str, str]) -> None:
        resource = Resource.create({"service.name": service, "service.version": version})
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", headers=dict(headers))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("claude_relay", version)

    def start(
        self,
        name: str,
        *,
        parent: str | None,
        kind: str,
        at: float | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> Span:
        """Begin a span, at that time or now."""
        context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
        span = self._tracer.start_span(
            name, context=context, kind=_KINDS[kind], start_time=None if at is None else int(at * 1e9)
        )
        started = OtelSpan(span)
        started.set(attributes or {})

        return started

    def close(self) -> None:
        """Send what is left, and stop."""
        self._provider.force_flush(_FLUSH)
        self._provider.shutdown()
