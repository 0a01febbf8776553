"""Spans of a job's way, under the trace of its caller."""

from __future__ import annotations

from typing import Any, Protocol


class Span(Protocol):
    """One step. `traceparent` names it as the parent of what it causes; None without a trace."""

    @property
    def traceparent(self) -> str | None: ...
    def set(self, attributes: dict[str, Any]) -> None: ...
    def end(self, *, error: str | None = None, at: float | None = None) -> None: ...


class Tracer(Protocol):
    """Begins spans. Never raises, and never waits for the collector."""

    def start(
        self,
        name: str,
        *,
        parent: str | None,
        kind: str,
        at: float | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> Span: ...
    def close(self) -> None: ...


class NoSpan:
    """A span that is not recorded: its parent goes on to what it causes."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def set(self, attributes: dict[str, Any]) -> None:
        """Nothing."""

    def end(self, *, error: str | None = None, at: float | None = None) -> None:
        """Nothing."""


class NoTracer:
    """Implements `Tracer` without a collector."""

    def start(
        self,
        name: str,
        *,
        parent: str | None,
        kind: str,
        at: float | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> Span:
        """A span that is not recorded."""
        return NoSpan(parent)

    def close(self) -> None:
        """Nothing."""
