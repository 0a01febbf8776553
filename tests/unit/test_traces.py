"""Trace context: what is taken for one, and that nothing is imported without a collector."""

from __future__ import annotations

import subprocess
import sys

import pytest

from claude_relay.config import Settings
from claude_relay.core.text.traceparent import parse_traceparent
from claude_relay.errors import ConfigError
from claude_relay.wiring.tracing import open_tracer

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "text, valid",
    [
        (PARENT, True),
        (f" {PARENT} ", True),
        (PARENT.upper(), False),
        (PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), False),
        (PARENT.replace("00f067aa0ba902b7", "0" * 16), False),
        ("ff" + PARENT[2:], False),
        (PARENT + "\r\nx: y", False),
        ("", False),
        (None, False),
    ],
)
def test_a_malformed_traceparent_is_ignored(text, valid):
    """W3C Trace Context: an invalid header is as if there were none."""
    assert (parse_traceparent(text) is not None) is valid


def test_without_a_collector_nothing_of_opentelemetry_is_imported():
    """Off by default: the modules of both daemons load none of it."""
    code = (
        "import sys\n"
        "from claude_relay.config import Settings\n"
        "from claude_relay.wiring.tracing import open_tracer\n"
        "import claude_relay.api.app, claude_relay.worker.daemon\n"
        "with open_tracer(Settings(), 'x') as tracer:\n"
        "    span = tracer.start('x', parent='p', kind='client')\n"
        "    assert span.traceparent == 'p'\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_collector_without_the_libraries_is_a_sentence(monkeypatch):
    """The start ends with exit 78 and the command that installs them."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "claude_relay.otel", raising=False)
    with (
        pytest.raises(ConfigError, match="claude-relay\\[otel\\]"),
        open_tracer(Settings(otel_exporter_otlp_endpoint="http://127.0.0.1:1"), "x"),
    ):
        pass
