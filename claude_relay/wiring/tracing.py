"""Chooses the tracer: OpenTelemetry where a collector is named, else none, and nothing is imported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .. import __version__
from ..errors import ConfigError
from ..ports import NoTracer, Tracer

if TYPE_CHECKING:
    from ..config import Settings


@contextlib.contextmanager
def open_tracer(settings: Settings, service: str) -> Iterator[Tracer]:
    """A tracer for the block; raises `ConfigError` without the libraries."""
    if settings.otel_exporter_otlp_endpoint is None:
        yield NoTracer()
        return
    try:
        from ..otel import OtelTracer
    except ImportError as exc:
        problem = "OTEL_EXPORTER_OTLP_ENDPOINT needs libraries that are not installed: pip install 'claude-relay[otel]'"
        raise ConfigError([f"{problem}, or remove it."]) from exc

    pairs = (header.partition("=") for header in settings.otel_exporter_otlp_headers)
    headers = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    tracer = OtelTracer(
        service=service, version=__version__, endpoint=settings.otel_exporter_otlp_endpoint, headers=headers
    )
    try:
        yield tracer
    finally:
        tracer.close()
