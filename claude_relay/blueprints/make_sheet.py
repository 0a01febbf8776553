"""The two scenarios for Make.com that send a sheet: all rows in one request, and one callback with all results."""

from __future__ import annotations

import json
from typing import Any

from .make_parts import (
    Module,
    Test,
    acknowledge,
    equal,
    filtered,
    http,
    module,
    not_equal,
    router,
    scenario,
    stop,
    variable,
)
from .placeholders import Blank


def submit(blank: Blank) -> dict[str, Any]:
    """
    The submitting scenario: rows, stable collectionId, the rows as JSON, POST to the relay with retries.

    The collectionId is created in a module of its own, so that a repeat by Make is the same collection.
    """
    body = {"template": blank.template, "webhookUrl": blank.webhook, "group": blank.group}
    text = json.dumps(body, ensure_ascii=False)[1:-1]
    flow = [
        module(1, "gateway:CustomWebHook", x=0, name="Takes rows and collectionId"),
        variable(2, "collectionId", "{{ifempty(1.collectionId; uuid)}}", x=1),
        module(3, "json:TransformToJSON", x=2, parameters={"space": ""}, mapper={"object": "{{1.rows}}"}),
        http(
            4,
            "post",
            f"{blank.url}/api/collections",
            handler=5,
            x=3,
            headers={"X-API-Key": blank.key, "Idempotency-Key": "{{2.collectionId}}"},
            body=f'{{"rows": {{{{3.json}}}}, {text}}}',
            timeout=120,
            handler_y=150,
        ),
    ]
    return scenario(
        "Claude: submit a sheet",
        "Hands the rows of a sheet to claude-relay in one request. One callback comes to 'Claude: receive a sheet'.",
        flow,
    )


def receive(blank: Blank) -> dict[str, Any]:
    """
    The receiving scenario: each row of the one callback, then the acknowledgement, then a stop if rows failed.

    Make runs the routes in their order. A callback that is too large comes without its results: they are fetched.
    """
    in_callback = filtered(
        module(3, "builtin:BasicFeeder", x=2, y=-400, mapper={"array": "{{1.results}}"}, name="Each row"),
        "the results are in the callback",
        [[not_equal("1.resultsTruncated", "true")]],
    )
    fetch = http(
        10,
        "get",
        f"{blank.url}/api/collections/{{{{1.collectionId}}}}/results?format=json",
        handler=17,
        x=2,
        y=0,
        headers={"X-API-Key": blank.key},
        timeout=300,
        name="Fetch the results",
        handler_y=150,
    )
    fetch = filtered(fetch, "too large for a callback", [[equal("1.resultsTruncated", "true")]])
    fetched = module(11, "builtin:BasicFeeder", x=3, y=0, mapper={"array": "{{10.data}}"}, name="Each fetched row")
    not_all: list[list[Test]] = [[not_equal("1.status", "completed")]]
    last = "{{1.collectionId}} {{1.status}}: {{1.failed}} of {{1.total}} rows failed"
    routes: list[list[Module]] = [
        [in_callback, _by_status(4, 3, x=3, y=-400)],
        [fetch, fetched, _by_status(12, 11, x=4, y=0)],
        [acknowledge(20, blank, handler=21, x=2, y=300)],
        [stop(22, last, y=450, name="rows failed", conditions=not_all)],
    ]
    return scenario(
        "Claude: receive a sheet",
        "Starts with the one callback of a sheet, goes through its rows, and acknowledges after the last one.",
        [module(1, "gateway:CustomWebHook", x=0, name="Takes the callback"), router(2, routes, x=1)],
    )


def _by_status(number: int, source: int, *, x: int, y: int) -> Module:
    """The routes of one row, `source` being the module that gives it: with a result, or with an error."""
    good = filtered(
        variable(
            number + 1,
            "row",
            f"{{{{{source}.row}}}}: {{{{{source}.response}}}}",
            x=x + 1,
            y=y - 100,
            name="A result: your own modules follow here",
        ),
        "completed",
        [[equal(f"{source}.status", "completed")]],
    )
    bad = filtered(
        variable(
            number + 2,
            "problem",
            f"{{{{{source}.row}}}}: {{{{{source}.errorType}}}}: {{{{{source}.error}}}}",
            x=x + 1,
            y=y + 100,
            name="A failed row: tell somebody here",
        ),
        "failed",
        [[not_equal(f"{source}.status", "completed")]],
    )
    return router(number, [[good], [bad]], x=x, y=y)
