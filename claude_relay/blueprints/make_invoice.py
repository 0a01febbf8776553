"""The two scenarios for Make.com that read invoices and go on by the checks of the answer."""

from __future__ import annotations

import json
from typing import Any

from .make_parts import (
    complete,
    equal,
    failure_routes,
    filtered,
    http,
    module,
    not_equal,
    route,
    router,
    scenario,
    variable,
)
from .placeholders import Blank


def submit(blank: Blank) -> dict[str, Any]:
    """
    The submitting scenario: new PDF in a folder, its content, POST to the relay under the name of a template.

    The requestId is that of the file: the same file is the same job, however often Make sends it.
    """
    body = {"webhookUrl": blank.webhook, "group": blank.group}
    text = json.dumps(body, ensure_ascii=False)[1:-1]
    # The file takes the place of the template's own `files`: a variable may have 1 MiB. Base64 needs no escaping; the
    # name of a file does, and comes as a quoted JSON string.
    file = '{"name": {{4.json}}, "data": "{{base64(2.data)}}"}'
    request = http(
        5,
        "post",
        f"{blank.url}/api/claude",
        handler=6,
        x=4,
        headers={"X-API-Key": blank.key, "Idempotency-Key": "{{3.requestId}}"},
        body=f'{{"template": {json.dumps(blank.template)}, "variables": {{"name": {{{{4.json}}}}}}, "files": [{file}], '
        f'"metadata": {{"file": {{{{4.json}}}}}}, {text}}}',
        timeout=120,
        handler_y=150,
    )
    content = module(
        2,
        "google-drive:getAFile",
        x=1,
        version=4,
        mapper={"select": "map", "file": "{{1.id}}"},
        name="Its content",
    )
    flow = [
        module(1, "google-drive:watchFilesInAFolder", x=0, version=4, name="A new file in the folder"),
        filtered(content, "a PDF", [[{"a": "{{1.name}}", "o": "text:contain:ci", "b": ".pdf"}]]),
        variable(3, "requestId", "invoice-{{ifempty(1.id; uuid)}}", x=2),
        module(4, "json:TransformToJSON", x=3, parameters={"space": ""}, mapper={"object": "{{1.name}}"}),
        request,
    ]
    return scenario(
        "Claude: submit invoices",
        "Hands each new PDF of a folder to claude-relay. The values come to the scenario 'Claude: receive invoices'.",
        flow,
    )


def receive(blank: Blank) -> dict[str, Any]:
    """
    The receiving scenario: routes for good invoices, failed checks, failures and cut answers.

    A callback without `checksFailed` was not checked, so it goes to the person.
    """
    good = filtered(
        variable(
            3,
            "invoice",
            "{{1.metadata.file}}",
            x=2,
            y=-500,
            name="Good: your own modules follow here, with 1.json",
        ),
        "every check passed",
        complete(equal("1.checksFailed", "0")),
    )
    review = filtered(
        variable(
            23,
            "review",
            '{{1.metadata.file}}: {{ifempty(1.checksFailed; "unknown")}} checks failed:'
            ' {{join(map(1.checks; "name"; "ok"; "false"); ", ")}}',
            x=2,
            y=-300,
            name="A check failed: send it to a person here",
        ),
        "a check failed",
        complete(not_equal("1.checksFailed", "0")),
    )
    routes = [
        route(3, blank, good, y=-500),
        route(23, blank, review, y=-300),
        *failure_routes(blank, y=-100, numbers=(5, 11, 17)),
    ]
    return scenario(
        "Claude: receive invoices",
        "Starts with the callback of claude-relay and goes on by its checks: book it, or let a person look at it.",
        [module(1, "gateway:CustomWebHook", x=0, name="Takes the callback"), router(2, routes, x=1)],
    )
