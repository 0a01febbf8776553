"""
The two scenarios for Make.com, where a scenario cannot wait for its own callback.

They follow the rules of Make's own validator (https://www.make.com/blueprint.md,
github.com/integromat/make-blueprints): parts that belong to an account (webhooks, connections) are left out, and
attached after the import.
"""

from __future__ import annotations

import json
from typing import Any

from .placeholders import Blank

_STEP = 300  # between two modules on the canvas


def submit(blank: Blank) -> dict[str, Any]:
    """
    The submitting scenario: webhook, stable requestId, prompt as a JSON string, POST to the relay with retries.

    The requestId is created in a module of its own: when Make retries the failed module later, the preceding modules
    keep their results. So the same requestId is sent again, and nothing is paid twice.
    """
    # `{{3.json}}` is the prompt as a quoted JSON string: unescaped, a quote or a line break would break the JSON.
    body = {"webhookUrl": blank.webhook, "group": blank.group}
    text = json.dumps(body, ensure_ascii=False)[1:-1]
    request = _module(
        4,
        "http:MakeRequest",
        x=3,
        version=4,
        parameters={"authenticationType": "noAuth", "tlsType": ""},
        mapper={
            "url": f"{blank.url}/api/claude",
            "method": "post",
            "headers": [
                {"name": "X-API-Key", "value": blank.key},
                {"name": "Idempotency-Key", "value": "{{2.requestId}}"},
            ],
            "queryParameters": [],
            "contentType": "json",
            "inputMethod": "jsonString",
            "jsonStringBodyContent": f'{{"prompt": {{{{3.json}}}}, {text}}}',
            "parseResponse": True,
            "stopOnHttpError": True,
            "timeout": 60,
            "allowRedirects": False,
            "shareCookies": False,
            "requestCompressedContent": True,
        },
    )
    request["onerror"] = [
        _module(5, "builtin:Break", x=4, y=150, mapper={"retry": True, "count": 5, "interval": 15}),
    ]
    flow = [
        _module(1, "gateway:CustomWebHook", x=0, name="Takes prompt and requestId"),
        _module(
            2,
            "util:SetVariable2",
            x=1,
            mapper={"name": "requestId", "scope": "roundtrip", "value": "{{ifempty(1.requestId; uuid)}}"},
        ),
        _module(3, "json:TransformToJSON", x=2, parameters={"space": ""}, mapper={"object": "{{1.prompt}}"}),
        request,
    ]
    return _scenario(
        "Claude: submit",
        "Hands a prompt to claude-relay and ends at once. The answer comes to the scenario 'Claude: receive'.",
        flow,
    )


def receive(blank: Blank) -> dict[str, Any]:
    """The receiving scenario: routes for answers, failures and cut answers, each acknowledged; the last route stops."""
    whole = [_is("status", "completed"), _is_not("truncated", "true"), _is_not("responseTruncated", "true")]
    answer = _route(
        3,
        blank,
        y=-300,
        conditions=_filter("completed", [whole]),
        variable="answer",
        value="{{1.response}}",
        name="Answer: your own modules follow here",
    )
    problem = _route(
        5,
        blank,
        y=-100,
        conditions=_filter("failed", [[_is("status", "failed")]]),
        variable="problem",
        value="{{1.errorType}}: {{1.error}}",
        name="Failure: tell somebody here",
    )
    cut = [[_is("status", "completed"), _is(mark, "true")] for mark in ("truncated", "responseTruncated")]
    truncated = _route(
        11,
        blank,
        y=100,
        conditions=_filter("truncated", cut),
        variable="problem",
        value="truncated: raise options.maxTokens of {{1.requestId}}, or fetch the whole answer: {{1.resultUrl}}",
        name="Cut answer: tell somebody here",
    )
    router = _module(2, "builtin:BasicRouter", x=1)
    router["mapper"] = None
    stop = _stop(17, y=300, conditions=_filter("failed or truncated", [[_is("status", "failed")], *cut]))
    router["routes"] = [{"flow": answer}, {"flow": problem}, {"flow": truncated}, {"flow": [stop]}]
    del router["parameters"]

    return _scenario(
        "Claude: receive",
        "Starts with the callback of claude-relay, goes on by its status, and acknowledges as the last step.",
        [_module(1, "gateway:CustomWebHook", x=0, name="Takes the callback"), router],
    )


def _is(field: str, value: str) -> dict[str, str]:
    return {"a": f"{{{{1.{field}}}}}", "o": "text:equal", "b": value}


def _is_not(field: str, value: str) -> dict[str, str]:
    return {"a": f"{{{{1.{field}}}}}", "o": "text:notequal", "b": value}


def _filter(name: str, conditions: list[list[dict[str, str]]]) -> dict[str, Any]:
    return {"name": name, "conditions": conditions}


def _stop(number: int, *, y: int, conditions: dict[str, Any]) -> dict[str, Any]:
    """
    The module that fails, so that the run is marked in the history and kept under *Incomplete executions*.

    Make has no module that throws; its help recommends *Parse JSON* with a text that is no JSON. Break without retry
    keeps the run without switching the scenario off, as an unhandled error would. It is a route of its own, the last
    one: a filter that does not pass (no ackUrl) ends its route.
    """
    module = _module(
        number,
        "json:ParseJSON",
        x=2,
        y=y,
        name="Stop with an error",
        mapper={"json": "{{1.requestId}} {{1.status}} {{1.errorType}} {{1.error}} (stopReason: {{1.stopReason}})"},
    )
    module["filter"] = conditions
    module["onerror"] = [_module(number + 1, "builtin:Break", x=3, y=y, mapper={"retry": False})]

    return module


def _route(
    number: int, blank: Blank, *, y: int, conditions: dict[str, Any], variable: str, value: str, name: str
) -> list[dict[str, Any]]:
    variable_module = _module(
        number,
        "util:SetVariable2",
        x=2,
        y=y,
        name=name,
        mapper={"name": variable, "scope": "roundtrip", "value": value},
    )
    variable_module["filter"] = conditions
    acknowledgement = _module(
        number + 1,
        "http:MakeRequest",
        x=3,
        y=y,
        version=4,
        name="Acknowledge: the last step",
        parameters={"authenticationType": "noAuth", "tlsType": ""},
        mapper={
            # Make's rules require a URL that begins with https://: only the token comes from the callback.
            "url": f'{blank.url}/ack/{{{{last(split(1.ackUrl; "/"))}}}}',
            "method": "post",
            "headers": [],
            "queryParameters": [],
            "contentType": "json",
            "inputMethod": "jsonString",
            "jsonStringBodyContent": "{}",
            "parseResponse": False,
            "stopOnHttpError": True,
            "timeout": 40,
            "allowRedirects": False,
            "shareCookies": False,
            "requestCompressedContent": True,
        },
    )
    # Null if the relay does not know its own URL (RELAY_PUBLIC_URL).
    acknowledgement["filter"] = {"name": "there is an ackUrl", "conditions": [[{"a": "{{1.ackUrl}}", "o": "exist"}]]}
    acknowledgement["onerror"] = [
        _module(number + 4, "builtin:Break", x=4, y=y, mapper={"retry": True, "count": 5, "interval": 15})
    ]
    return [variable_module, acknowledgement]


def _module(
    number: int,
    module: str,
    *,
    x: int,
    y: int = 0,
    version: int = 1,
    parameters: dict[str, Any] | None = None,
    mapper: dict[str, Any] | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    designer: dict[str, Any] = {"x": x * _STEP, "y": y}
    if name:
        designer["name"] = name

    return {
        "id": number,
        "module": module,
        "version": version,
        "parameters": parameters or {},
        "mapper": mapper or {},
        "metadata": {"designer": designer},
    }


def _scenario(name: str, description: str, flow: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "flow": flow,
        "metadata": {
            "version": 1,
            "scenario": {
                "roundtrips": 1,
                "maxErrors": 3,
                "autoCommit": True,
                "autoCommitTriggerLast": True,
                "sequential": False,
                "confidential": False,
                "dataloss": False,
                "dlq": True,  # "store incomplete executions": without it a Break handler stores nothing
                "freshVariables": False,
            },
            "designer": {"orphans": []},
        },
    }
