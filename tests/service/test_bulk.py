"""The body of a 202: of a job that is stored, and of one that is about to be."""

from __future__ import annotations

import random

import pytest

from claude_relay.core.policy import Policy
from claude_relay.ports import Store
from claude_relay.services import Accepted, Relay
from tests.support.builders import QuietNotifier, a_completion, a_submission
from tests.support.eventually import eventually


@pytest.mark.parametrize(
    ("public", "base", "address"),
    [
        ("https://r.example/", "http://10.0.0.1:8080", "https://r.example"),
        (None, "http://10.0.0.1:8080", "http://10.0.0.1:8080"),
        (None, None, None),
    ],
)
def test_the_addresses_of_a_202_begin_with_the_public_url(
    store: Store, public: str | None, base: str | None, address: str | None
) -> None:
    """Else with the URL that the caller used; a prepared job has the same body as a stored one."""
    relay = Relay(store, QuietNotifier(), Policy(public_url=public), rng=random.Random(1))
    prepared = relay.prepare_submit(a_submission("r"), owner="admin", now=1.0)
    assert prepared is not None
    early = relay.bulk.prepared_body(prepared, now=1.0, base=base)
    stored = relay.bulk.accepted_body(relay.submit(a_submission("r")), now=1.0, base=base)

    assert early == stored
    assert stored["statusUrl"] == f"{address or ''}/api/status/r"


@pytest.mark.parametrize("may_read", [True, False])
def test_a_key_that_may_not_read_learns_no_state_from_a_repeated_request(store: Store, may_read: bool) -> None:
    """It is answered as the first one was, apart from the word that it is a repetition."""
    relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(1))
    relay.submit(a_submission("r", webhook_url=None))
    relay.execution.complete(relay.execution.claim("w", limit=1)[0], a_completion())
    again = relay.submit(a_submission("r", webhook_url=None))
    body = relay.bulk.accepted_body(again, now=1.0, show_state=may_read)

    assert (body["status"], body["duplicate"]) == ("completed" if may_read else "pending", True)


def test_workers_hear_of_the_new_jobs_of_a_bulk_that_may_start(store: Store) -> None:
    """Of no repeated one, and of none that waits for its time."""
    notifier = QuietNotifier()
    relay = Relay(store, notifier, Policy(), rng=random.Random(1))
    relay.submit(a_submission("r-1"))
    notifier.notified.clear()
    later = a_submission("later", run_at=store.clock() + 60)
    results = relay.submit_many([a_submission("r-1"), later, a_submission("r-2"), a_submission("r-3")])
    ids = {each.job.request_id: each.job.id for each in results if isinstance(each, Accepted)}
    assert notifier.notified == [(ids["r-2"], ids["r-3"])]

    notifier.notified.clear()
    outcomes: list[object] = []
    for name in ("r-1", "r-4"):
        prepared = relay.prepare_submit(a_submission(name), owner="admin", now=1.0)
        assert prepared is not None
        prepared.store(outcomes.append)
    eventually(lambda: len(outcomes) == 2)
    assert [each.duplicate for each in outcomes if isinstance(each, Accepted)] == [True, False]
    assert notifier.notified == [(each.job.id,) for each in outcomes[1:] if isinstance(each, Accepted)]
