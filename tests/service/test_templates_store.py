"""Templates on every engine: versions, deletion, and cost by version."""

from __future__ import annotations

import pytest

from claude_relay.core.intake import IntakeContext
from claude_relay.errors import InvalidRequest, NotFound
from claude_relay.services import JobRef, Relay
from tests.support.builders import Clock, a_completion
from tests.support.intake import an_intake_context


def save(relay: Relay, name: str, context: IntakeContext, **body: object) -> dict[str, object]:
    return relay.templates.save(name, {"body": body}, context, now=1.0)[0]


def test_the_life_of_a_template_on_every_engine(relay: Relay, clock: Clock) -> None:
    """Saved twice, used, deleted, its used version kept until its job is purged, and its number never used again."""
    context = an_intake_context()
    save(relay, "t", context, prompt="one {{a}}", webhookHeaders={"x": "y"})
    save(relay, "t", context, prompt="two {{a}}")
    body = {"template": "t@1", "variables": {"a": "1"}, "requestId": "r-1"}
    relay.submit(relay.templates.parse(body, owner="admin", now=clock(), context=context))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    relay.templates.delete("t", owner="admin")

    assert relay.templates.show("t@1", owner="admin")["deleted"]
    assert [row["template"] for row in relay.queries.cost(by="template")["rows"]] == ["t@1"]
    assert relay.queries.job_details(JobRef(request_id="r-1"))["template"] == "t@1"
    clock.advance(40 * 86400)
    assert relay.maintenance.purge() == 1
    assert relay._store.read(lambda tx: tx.template("admin", "t", 1)) is None
    assert save(relay, "t", context, prompt="two {{a}}")["version"] == 3
    assert [row["name"] for row in relay.templates.all(owner="other")] == []
    assert [row["name"] for row in relay.templates.all(owner=None)] == ["t"]


def test_versions_that_were_deleted_stay_so_when_the_name_is_saved_again(relay: Relay, clock: Clock) -> None:
    """The new template is another one: the old versions are still readable for their jobs, and used by no new one."""
    context = an_intake_context()
    save(relay, "t", context, prompt="one {{a}}")
    body = {"template": "t@1", "variables": {"a": "1"}, "requestId": "r-1"}
    relay.submit(relay.templates.parse(body, owner="admin", now=clock(), context=context))
    relay.templates.delete("t", owner="admin")
    assert save(relay, "t", context, prompt="one {{a}}")["version"] == 2

    with pytest.raises(InvalidRequest, match="names no template"):
        relay.templates.parse({**body, "requestId": "r-2"}, owner="admin", now=clock(), context=context)
    assert relay.templates.show("t@1", owner="admin")["deleted"]
    assert relay.templates.parse({**body, "template": "t"}, owner="admin", now=clock(), context=context)
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    clock.advance(40 * 86400)
    relay.maintenance.purge()
    with pytest.raises(NotFound):
        relay.templates.show("t@1", owner="admin")
    assert not relay.templates.show("t@2", owner="admin")["deleted"]


def test_a_template_that_is_shown_and_saved_again_keeps_its_webhook_headers(relay: Relay, clock: Clock) -> None:
    """A person changes the prompt on the dashboard, where their values are hidden: Make still gets its key."""
    context = an_intake_context()
    save(relay, "t", context, prompt="one {{a}}", webhookHeaders={"x-make-apikey": "secret", "x-new": "1"})
    shown = relay.templates.show("t", owner="admin")["body"]
    assert shown["webhookHeaders"] == {"x-make-apikey": "(hidden)", "x-new": "(hidden)"}
    assert save(relay, "t", context, **shown)["version"] == 1
    changed = {**shown, "prompt": "two {{a}}", "webhookHeaders": {**shown["webhookHeaders"], "x-new": "2"}}
    assert save(relay, "t", context, **changed)["version"] == 2
    stored = relay._store.read(lambda tx: tx.template("admin", "t", 2))

    assert stored is not None and stored.body["webhookHeaders"] == {"x-make-apikey": "secret", "x-new": "2"}
    for name, headers in (("t", {"x-other": "(hidden)"}), ("u", {"x-make-apikey": "(hidden)"})):
        with pytest.raises(InvalidRequest, match=f"body.webhookHeaders.{next(iter(headers))} is “\\(hidden\\)”"):
            save(relay, name, context, prompt="three {{a}}", webhookHeaders=headers)
