"""
Schemathesis against the real app: a few requests of every operation here, many with `make prove-openapi`.

It makes requests from the document, valid and invalid ones, and checks each answer against it: no server error, and
only documented statuses, content types, headers and bodies. Four of its checks contradict the contract and are left
out: a body that breaks the schema may be accepted with a warning (`"4096"` for a number, an unknown field), a valid
one may name a job that does not exist, and methods are refused for lack of a key before they are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.api.openapi.document import OPERATIONS
from claude_relay.config import Settings
from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier
from tests.support.proof import size

KEY = "the-key-of-these-tests"
LEFT_OUT = {"negative_data_rejection", "positive_data_acceptance", "unsupported_method", "ensure_resource_availability"}
EXAMPLES = size(2, 200)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    relay = Relay(SqliteStore(tmp_path_factory.mktemp("store") / "relay.db"), QuietNotifier(), Policy())
    settings = Settings(api_secret_key=KEY, rate_limit=None, rate_limit_submit=None)
    app = make_app(relay, settings, intake=wiring.intake_context(settings, relay))
    yield schemathesis.openapi.from_wsgi("/openapi.json", app)
    relay.close()


def checks(operation: Any) -> list[Any]:
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    # 503 is an answer of /health/ready like any other.
    left_out = LEFT_OUT | ({"not_a_server_error"} if operation.id == "ready" else set())
    return [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in left_out]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_answer_is_as_documented(api: Any, operation: Any) -> None:
    """No request of an operation gets an answer that the document does not have."""
    modes = list(schemathesis.GenerationMode)
    strategies = [api[operation.path][operation.method].as_strategy(generation_mode=mode) for mode in modes]

    @hypothesis.given(case=hypothesis.strategies.one_of(strategies))
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    def ask(case: Any) -> None:
        case.call_and_validate(headers={"X-API-Key": KEY}, checks=checks(operation))

    ask()
