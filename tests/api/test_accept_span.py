"""The span of accepting a job: one for each request. It ends once, in the thread that answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from falcon.testing import TestClient

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.api.deferred_response import ENVIRON, DeferredResponse
from claude_relay.config import Settings
from claude_relay.services import Outcome, Relay
from tests.support.builders import a_completion
from tests.support.eventually import eventually

from .conftest import KEY


class RecordedSpan:
    """A span that counts its ends."""

    traceparent = None

    def __init__(self) -> None:
        self.errors: list[str | None] = []

    def set(self, attributes: dict[str, Any]) -> None: ...

    def end(self, *, error: str | None = None, at: float | None = None) -> None:
        self.errors.append(error)


class Recorder:
    """A tracer that keeps its spans."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def start(self, name: str, **_: Any) -> RecordedSpan:
        self.spans.append(RecordedSpan())
        return self.spans[-1]

    def close(self) -> None: ...


@pytest.fixture
def submit(relay: Relay) -> Callable[..., list[RecordedSpan]]:
    """Submits a job whose response may be deferred, as over a socket; returns the spans of the request."""

    def submit(**body: Any) -> list[RecordedSpan]:
        settings, tracer, deferred = (
            Settings(api_secret_key=KEY, rate_limit_submit=None),
            Recorder(),
            DeferredResponse(),
        )
        app = make_app(relay, settings, intake=wiring.intake_context(settings, relay), tracer=tracer)
        TestClient(app, headers={"X-API-Key": KEY}).simulate_post(
            "/api/claude", json={"prompt": "Hei"} | body, extras={ENVIRON: deferred}
        )
        if deferred.store is not None:
            outcomes: list[Outcome] = []
            deferred.store(outcomes.append)
            eventually(lambda: outcomes)
        return tracer.spans

    return submit


def test_each_submit_has_one_span_that_ends_once(relay: Relay, submit: Callable[..., list[RecordedSpan]]) -> None:
    """Deferred, answered by its thread as it continues a conversation, and refused after its body was read."""
    [deferred] = submit(requestId="r-1")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    [continued] = submit(continueFrom="r-1")
    [refused] = submit(continueFrom="no-such-job")

    assert (deferred.errors, continued.errors) == ([None], [None])
    assert len(refused.errors) == 1 and refused.errors[0] is not None
