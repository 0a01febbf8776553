"""
The workflow for n8n: for each item it submits, waits for the callback, branches by the outcome and acknowledges.

`$execution.resumeUrl` is the URL on which the Wait node listens; n8n keeps the execution in its database meanwhile. It
is one URL for the whole execution, and a Wait node waits once for all its items: so the items go through a loop, one
after the other. A repeated callback of an earlier item is recognised by its requestId.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .placeholders import Blank

# One expression: JSON.stringify escapes the prompt. The requestId is one for each item and round, and stays the same
# when the node is retried, so that nothing is paid twice.
_BODY = (
    "={{{{ JSON.stringify({{prompt: $json.prompt, webhookUrl: $execution.resumeUrl, group: {group},"
    " requestId: ['n8n', $workflow.id, $execution.id, $runIndex, $itemIndex].join('-')}}) }}}}"
)
_PROMPT = "Write a haiku about a queue that loses nothing."
_REQUEST_ID = "$('Submit').first().json.requestId"
_WAIT_HOURS = 25  # the relay fails a job after 24 hours

# Empty where the answer is complete. `stopReason` stands in every callback, `truncated` only in the complete ones.
_PROBLEM = (
    "={{{{ !$json.body ? 'timeout: no callback of ' + {id} + ' came within {hours} hours, and this execution no longer"
    " waits for one. Its result costs nothing: GET {url}/api/result/' + {id} + ' with the key, or on the relay:"
    " claude-relay result ' + {id}"
    " : $json.body.status !== 'completed' ? ($json.body.errorType || 'failed') + ': ' + $json.body.error"
    " : $json.body.truncated || $json.body.stopReason === 'max_tokens' ? 'truncated: the answer ended at its limit of"
    " tokens; raise options.maxTokens'"
    " : $json.body.responseTruncated ? 'truncated: the answer is longer than a callback may be; it is at '"
    " + ($json.body.resultUrl || '{url}/api/result/' + {id})"
    " : '' }}}}"
)


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
        "resumeAmount": _WAIT_HOURS,
        "resumeUnit": "hours",
        "options": {},
    }
    outcome = _fields(
        requestId=f"={{{{ {_REQUEST_ID} }}}}",
        answer="={{ $json.body?.response ?? '' }}",
        problem=_PROBLEM.format(id=_REQUEST_ID, hours=_WAIT_HOURS, url=blank.url),
        ackUrl="={{ $json.body?.ackUrl ?? '' }}",
    )
    # The answer as text, and as an object where there was an outputSchema.
    outcome["assignments"]["assignments"].append(
        {"id": "json", "name": "json", "value": "={{ $json.body?.json ?? {} }}", "type": "object"}
    )
    acknowledge = {
        "method": "POST",
        "url": "={{ $('Outcome').first().json.ackUrl }}",
        "options": {"timeout": 40_000},
    }
    result = {"mode": "raw", "jsonOutput": "={{ JSON.stringify($('Outcome').first().json) }}", "options": {}}
    stop = {
        "errorMessage": "={{ $input.all().map(item => item.json.requestId + ': ' + item.json.problem).join('\\n') }}"
    }
    retry = {"retryOnFail": True, "maxTries": 5, "waitBetweenTries": 5000}
    nodes = [
        _node("Start", "manualTrigger", 1, 0, 0, {}),
        _node("Prompt", "set", 3.4, 1, 0, _fields(prompt=_PROMPT)),
        _node("Loop", "splitInBatches", 3, 2, 0, {"options": {}}),  # one item a round
        _node("Submit", "httpRequest", 4.2, 3, 150, submit) | retry,
        _node("Wait for the callback", "wait", 1.1, 4, 150, wait),
        _node("Of this item?", "if", 2.2, 5, 150, _if(f"!$json.body || $json.body.requestId === {_REQUEST_ID}")),
        _node("Wait again", "set", 3.4, 5, 350, _fields(waiting="The callback was that of an earlier item.")),
        _node("Outcome", "set", 3.4, 6, 150, outcome),
        _node("Complete?", "if", 2.2, 7, 150, _if("!$json.problem")),
        _node("Answer", "noOp", 1, 8, 50, {}),  # own nodes follow here, with $json.answer
        _node("Problem", "noOp", 1, 8, 250, {}),
        # Without RELAY_PUBLIC_URL there is no ackUrl: then the next step is passed over.
        _node("Has an ackUrl?", "if", 2.2, 9, 150, _if("!!$('Outcome').first().json.ackUrl")),
        _node("Acknowledge", "httpRequest", 4.2, 10, 50, acknowledge) | retry | {"onError": "continueRegularOutput"},
        _node("Result", "set", 3.4, 11, 150, result),
        # After the last item. The answers go first (n8n runs the upper branch first), then the execution fails.
        _node("Any problem?", "if", 2.2, 3, -250, _if("!!$json.problem")),
        _node("All answers", "noOp", 1, 4, -350, {}),
        _node("Stop and Error", "stopAndError", 1, 4, -150, stop),
    ]
    return {
        "id": _workflow_id(blank),
        "name": "Claude by claude-relay",
        "nodes": nodes,
        "connections": {
            "Start": _to("Prompt"),
            "Prompt": _to("Loop"),
            "Loop": _to("Any problem?", "Submit"),
            "Submit": _to("Wait for the callback"),
            "Wait for the callback": _to("Of this item?"),
            "Of this item?": _to("Outcome", "Wait again"),
            "Wait again": _to("Wait for the callback"),
            "Outcome": _to("Complete?"),
            "Complete?": _to("Answer", "Problem"),
            "Answer": _to("Has an ackUrl?"),
            "Problem": _to("Has an ackUrl?"),
            "Has an ackUrl?": _to("Acknowledge", "Result"),
            "Acknowledge": _to("Result"),
            "Result": _to("Loop"),
            "Any problem?": _to("Stop and Error", "All answers"),
        },
        "settings": {"executionOrder": "v1"},
        "active": False,
    }


def _workflow_id(blank: Blank) -> str:
    """The id that `n8n import:workflow` requires, one for each relay and group: an import replaces a file of its id."""
    return hashlib.sha256(f"{blank.url} {blank.group}".encode()).hexdigest()[:16]


def _if(condition: str) -> dict[str, Any]:
    """The parameters of an If node: its first output is taken where the JavaScript `condition` is true."""
    return {
        "conditions": {
            "options": {"caseSensitive": True, "leftValue": "", "typeValidation": "strict", "version": 2},
            "conditions": [
                {
                    "id": "condition",
                    "leftValue": f"={{{{ {condition} }}}}",
                    "rightValue": "",
                    "operator": {"type": "boolean", "operation": "true", "singleValue": True},
                }
            ],
            "combinator": "and",
        },
        "options": {},
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
