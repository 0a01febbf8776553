"""The two scenarios for Make.com, where a scenario cannot wait for its own callback: one submits, one receives."""

from __future__ import annotations

import json
from typing import Any

from .make_parts import complete, failure_routes, filtered, http, module, route, router, scenario, variable
from .placeholders import Blank


def submit(blank: Blank) -> dict[str, Any]:
    """
    The submitting scenario: webhook, stable requestId, prompt as a JSON string, POST to the relay with retries.

    The requestId is created in a module of its own: when Make retries the failed module later, the preceding modules
    keep their results. So the same requestId is sent again, and nothing is paid twice.
    """
    # `{{3.json}}` is the prompt as a quoted JSON string: unescaped, a quote or a line break would break the JSON.
    body = {"webhookUrl": blank.webhook, "group": blank.group}
    text = json.dumps(body, ensure_ascii=False)[1:-1]
    flow = [
        module(1, "gateway:CustomWebHook", x=0, name="Takes prompt and requestId"),
        variable(2, "requestId", "{{ifempty(1.requestId; uuid)}}", x=1),
        module(3, "json:TransformToJSON", x=2, parameters={"space": ""}, mapper={"object": "{{1.prompt}}"}),
        http(
            4,
            "post",
            f"{blank.url}/api/claude",
            handler=5,
            x=3,
            headers={"X-API-Key": blank.key, "Idempotency-Key": "{{2.requestId}}"},
            body=f'{{"prompt": {{{{3.json}}}}, {text}}}',
            handler_y=150,
        ),
    ]
    return scenario(
        "Claude: submit",
        "Hands a prompt to claude-relay and ends at once. The answer comes to the scenario 'Claude: receive'.",
        flow,
    )


def receive(blank: Blank) -> dict[str, Any]:
    """The receiving scenario: routes for answers, failures and cut answers, each acknowledged; the last route stops."""
    answer = filtered(
        variable(3, "answer", "{{1.response}}", x=2, y=-300, name="Answer: your own modules follow here"),
        "completed",
        complete(),
    )
    routes = [route(3, blank, answer, y=-300), *failure_routes(blank, y=-100, numbers=(5, 11, 17))]

    return scenario(
        "Claude: receive",
        "Starts with the callback of claude-relay, goes on by its status, and acknowledges as the last step.",
        [module(1, "gateway:CustomWebHook", x=0, name="Takes the callback"), router(2, routes, x=1)],
    )
