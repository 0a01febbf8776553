"""
The workflow for n8n: it submits, waits for its own callback, branches by status and acknowledges.

`$execution.resumeUrl` is the URL on which the Wait node listens; n8n keeps the execution in its database meanwhile.
"""

from __future__ import annotations

import json
from typing import Any

from .placeholders import Blank

# One expression: JSON.stringify escapes the prompt. The requestId stays the same when the node is retried, so that
# nothing is paid twice.
_BODY = (
    "={{{{ JSON.stringify({{prompt: $json.prompt, webhookUrl: $execution.resumeUrl, group: {group},"
    " requestId: 'n8n-' + $workflow.id + '-' + $execution.id}}) }}}}"
)
_PROMPT = "Write a haiku about a queue that loses nothing."


def workflow(blank: Blank) -> dict[str, Any]:
    """The file to import."""
    submit = {
        "method": "POST",
        "url": f"{blank.url}/api/claude",
        "sendHeaders": True,
        "headerParameters": {"parameters": [{"name": "X-API-Key", "value": blank.key}]},
        "sendBody": True,
        "specifyBody": "json",
        "jsonBody": _BODY.format(group=json.dumps(blank.group)),
        "options": {"timeout": 60_000},
    }
    wait = {
        "resume": "webhook",
        "httpMethod": "POST",
        "limitWaitTime": True,
        "limitType": "afterTimeInterval",
        "resumeAmount": 25,  # the relay fails a job after 24 hours
        "resumeUnit": "hours",
        "options": {},
    }
    completed = {
        "conditions": {
            "options": {"caseSensitive": True, "leftValue": "", "typeValidation": "strict", "version": 2},
            "conditions": [
                {
                    "id": "completed",
                    "leftValue": "={{ $json.body.status }}",
                    "rightValue": "completed",
                    "operator": {"type": "string", "operation": "equals"},
                }
            ],
            "combinator": "and",
        },
        "options": {},
    }
    acknowledge = {
        "method": "POST",
        "url": "={{ $('Wait for the callback').item.json.body.ackUrl }}",
        "options": {"timeout": 40_000},
    }
    retry = {"retryOnFail": True, "maxTries": 5, "waitBetweenTries": 5000}
    nodes = [
        _node("Start", "manualTrigger", 1, 0, 0, {}),
        _node("Prompt", "set", 3.4, 1, 0, _fields(prompt=_PROMPT)),
        _node("Submit", "httpRequest", 4.2, 2, 0, submit) | retry,
        _node("Wait for the callback", "wait", 1.1, 3, 0, wait),
        _node("Completed?", "if", 2.2, 4, 0, completed),
        _node("Answer", "set", 3.4, 5, -150, _fields(answer="={{ $json.body.response }}")),
        _node("Problem", "set", 3.4, 5, 150, _fields(problem="={{ $json.body.errorType }}: {{ $json.body.error }}")),
        # Without RELAY_PUBLIC_URL there is no ackUrl: then this node fails, and the workflow still succeeds.
        _node("Acknowledge", "httpRequest", 4.2, 6, 0, acknowledge) | retry | {"onError": "continueRegularOutput"},
    ]
    return {
        "name": "Claude by claude-relay",
        "nodes": nodes,
        "connections": {
            "Start": _to("Prompt"),
            "Prompt": _to("Submit"),
            "Submit": _to("Wait for the callback"),
            "Wait for the callback": _to("Completed?"),
            "Completed?": _to("Answer", "Problem"),
            "Answer": _to("Acknowledge"),
            "Problem": _to("Acknowledge"),
        },
        "settings": {"executionOrder": "v1"},
        "active": False,
    }


def _node(name: str, kind: str, version: float, x: int, y: int, parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name.lower().replace(" ", "-").strip("?"),
        "name": name,
        "type": f"n8n-nodes-base.{kind}",
        "typeVersion": version,
        "position": [x * 220, y],
        "parameters": parameters,
    }


def _fields(**values: str) -> dict[str, Any]:
    assigned = [{"id": name, "name": name, "value": value, "type": "string"} for name, value in values.items()]

    return {"assignments": {"assignments": assigned}, "options": {}}


def _to(*names: str) -> dict[str, Any]:
    """One output for each name, in their order: the first output of an If node is `true`."""
    return {"main": [[{"node": name, "type": "main", "index": 0}] for name in names]}
