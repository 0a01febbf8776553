"""Collections with a template of one placeholder: made, worked on and delivered step by step."""

from __future__ import annotations

import json
from typing import Any

from claude_relay.core.collections.intake import parse_collection, parse_more_rows
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.keys import ADMIN
from claude_relay.services import CollectionRef, Relay
from tests.support.builders import Clock, a_completion, a_failure
from tests.support.intake import an_intake_context

CONTEXT = an_intake_context()
C = CollectionRef(collection_id="c")


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    return [{"text": str(number)} for number in range(start, start + count)]


def create(relay: Relay, clock: Clock, count: int = 3, *, owner: str = ADMIN, **fields: Any):
    body = {
        "collectionId": "c",
        "template": {"prompt": "Les {{text}}"},
        "webhookUrl": "https://hook.example/in",
        "rows": rows(count),
        **fields,
    }
    body = {name: value for name, value in body.items() if value is not None}
    request = parse_collection(body, now=clock(), context=CONTEXT)
    return relay.collections.create(request, CONTEXT, owner=owner, now=clock())


def add(relay: Relay, clock: Clock, count: int, start: int = 0, key: str | None = None):
    request = parse_more_rows({"rows": rows(count, start)})
    return relay.collections.add_rows(C, request, CONTEXT, key=key, now=clock())


def finish(relay: Relay, *failing: int, limit: int = 100) -> int:
    claimed = relay.execution.claim("w", limit=limit)
    for item in claimed:
        if item.job.row in failing:
            relay.execution.fail(item, a_failure(ErrorType.REFUSED, Remedy.FAIL))
        else:
            relay.execution.complete(item, a_completion())
    return len(claimed)


def callbacks(relay: Relay, status: int = 200) -> list[dict[str, Any]]:
    taken = relay.deliveries.claim("w", limit=100)
    for item in taken:
        relay.deliveries.record_attempt(item, Reply(status=status))
    return [json.loads(item.body) for item in taken]
