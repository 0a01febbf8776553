"""
Parts of workflows for n8n: a loop that submits one item, waits for its callback, branches and acknowledges.

`$execution.resumeUrl` is the URL on which the Wait node listens; n8n keeps the execution in its database meanwhile. It
is one URL for the whole execution, and a Wait node waits once for all its items: so the items go through a loop, one
after the other. A repeated callback of an earlier item is recognised by its requestId.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from .placeholders import Blank

Node = dict[str, Any]
Connections = dict[str, Any]

#: The requestId is one for each item and round, and stays the same when the node is retried: nothing is paid twice.
ITEM_ID = "['n8n', $workflow.id, $execution.id, $runIndex, $itemIndex].join('-')"
RETRY: Node = {"retryOnFail": True, "maxTries": 5, "waitBetweenTries": 5000}
_GO_ON: Node = {"onError": "continueRegularOutput"}
WAIT_HOURS = 25  # the relay fails a job after 24 hours

_REQUEST_ID = "$('Submit').first().json.requestId"

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


def loop(
    blank: Blank,
    *,
    submit: Mapping[str, Any],
    outcome: Sequence[Node] = (),
    middle: Sequence[Node] | None = None,
    branches: Connections | None = None,
) -> tuple[list[Node], Connections]:
    """
    The nodes from the loop over items to the last answer, and their connections.

    `submit` completes the request; `outcome` adds fields. `middle` and `branches` replace the nodes of good answers.
    """
    request = {
        "method": "POST",
        "url": f"{blank.url}/api/claude",
        "sendHeaders": True,
        "headerParameters": {"parameters": [{"name": "X-API-Key", "value": blank.key}]},
        "sendBody": True,
        **submit,
        "options": {"timeout": 60_000},
    }
    fields = assigned(
        assignment("requestId", f"={{{{ {_REQUEST_ID} }}}}"),
        assignment("answer", "={{ $json.body?.response ?? '' }}"),
        assignment("problem", _PROBLEM.format(id=_REQUEST_ID, hours=WAIT_HOURS, url=blank.url)),
        assignment("ackUrl", "={{ $json.body?.ackUrl ?? '' }}"),
        # The answer as text, and as an object where there was an outputSchema.
        assignment("json", "={{ $json.body?.json ?? {} }}", "object"),
        *outcome,
    )
    if middle is None:
        middle = [node("Answer", "noOp", 1, 8, 50, {})]  # own nodes follow here, with $json.answer
    nodes = [
        node("Loop", "splitInBatches", 3, 2, 0, {"options": {}}),  # one item a round
        node("Submit", "httpRequest", 4.2, 3, 150, request) | RETRY,
        node("Wait for the callback", "wait", 1.1, 4, 150, waiting()),
        node("Of this item?", "if", 2.2, 5, 150, condition(f"!$json.body || $json.body.requestId === {_REQUEST_ID}")),
        node("Wait again", "set", 3.4, 5, 350, waiting_again("item")),
        node("Outcome", "set", 3.4, 6, 150, fields),
        node("Complete?", "if", 2.2, 7, 150, condition("!$json.problem")),
        *middle,
        node("Problem", "noOp", 1, 8, 250, {}),
        *acknowledgement(),
        # After the last item. The answers go first (n8n runs the upper branch first), then the execution fails.
        node("Any problem?", "if", 2.2, 3, -250, condition("!!$json.problem")),
        node("All answers", "noOp", 1, 4, -350, {}),
        stop(4, -150, "={{ $input.all().map(item => item.json.requestId + ': ' + item.json.problem).join('\\n') }}"),
    ]
    connections = {
        "Loop": to("Any problem?", "Submit"),
        "Submit": to("Wait for the callback"),
        "Wait for the callback": to("Of this item?"),
        "Of this item?": to("Outcome", "Wait again"),
        "Wait again": to("Wait for the callback"),
        "Outcome": to("Complete?"),
        **(branches or {"Complete?": to("Answer", "Problem"), "Answer": to("Has an ackUrl?")}),
        "Problem": to("Has an ackUrl?"),
        "Has an ackUrl?": to("Acknowledge", "Result"),
        "Acknowledge": to("Result"),
        "Result": to("Loop"),
        "Any problem?": to("Stop and Error", "All answers"),
    }

    return nodes, connections


def waiting() -> dict[str, Any]:
    """The parameters of the node that waits for the callback."""
    return {
        "resume": "webhook",
        "httpMethod": "POST",
        "limitWaitTime": True,
        "limitType": "afterTimeInterval",
        "resumeAmount": WAIT_HOURS,
        "resumeUnit": "hours",
        "options": {},
    }


def acknowledgement(x: int = 9, y: int = 150) -> list[Node]:
    """The nodes that call the callback's `ackUrl`, and the result behind them."""
    acknowledge = {
        "method": "POST",
        "url": "={{ $('Outcome').first().json.ackUrl }}",
        "options": {"timeout": 40_000},
    }
    result = {"mode": "raw", "jsonOutput": "={{ JSON.stringify($('Outcome').first().json) }}", "options": {}}

    return [
        # Without RELAY_PUBLIC_URL there is no ackUrl: then the next step is passed over.
        node("Has an ackUrl?", "if", 2.2, x, y, condition("!!$('Outcome').first().json.ackUrl")),
        node("Acknowledge", "httpRequest", 4.2, x + 1, y - 100, acknowledge)
        | RETRY
        | {"onError": "continueRegularOutput"},
        node("Result", "set", 3.4, x + 2, y, result),
    ]


def stop(x: int, y: int, message: str) -> Node:
    """The node that fails the execution, so that its error workflow starts."""
    return node("Stop and Error", "stopAndError", 1, x, y, {"errorMessage": message})


def import_file(
    blank: Blank, nodes: Sequence[Node], connections: Connections, *, name: str, variant: str = ""
) -> dict[str, Any]:
    """The file to import."""
    return {
        "id": _workflow_id(blank, variant),
        "name": name,
        "nodes": list(nodes),
        "connections": connections,
        "settings": {"executionOrder": "v1"},
        "active": False,
    }


def _workflow_id(blank: Blank, variant: str) -> str:
    """The id that `n8n import:workflow` requires, one for each use: an import replaces a file of its id."""
    text = " ".join((blank.url, blank.group, *((variant, blank.template) if variant else ())))

    return hashlib.sha256(text.encode()).hexdigest()[:16]


def webhook_id(blank: Blank) -> str:
    """The id in the URL of a form: it keeps its address when the file is imported again."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{blank.url}/{blank.group}/{blank.template}"))


def condition(text: str) -> dict[str, Any]:
    """The parameters of an If node: its first output is taken where the JavaScript `text` is true."""
    return {
        "conditions": {
            "options": {"caseSensitive": True, "leftValue": "", "typeValidation": "strict", "version": 2},
            "conditions": [
                {
                    "id": "condition",
                    "leftValue": f"={{{{ {text} }}}}",
                    "rightValue": "",
                    "operator": {"type": "boolean", "operation": "true", "singleValue": True},
                }
            ],
            "combinator": "and",
        },
        "options": {},
    }


def node(name: str, kind: str, version: float, x: int, y: int, parameters: Mapping[str, Any]) -> Node:
    """One node; `x` counts the steps from the left."""
    return {
        "id": name.lower().replace(" ", "-").strip("?"),
        "name": name,
        "type": f"n8n-nodes-base.{kind}",
        "typeVersion": version,
        "position": [x * 220, y],
        "parameters": parameters,
    }


def assignment(name: str, value: str, kind: str = "string") -> dict[str, Any]:
    """One field of a Set node."""
    return {"id": name, "name": name, "value": value, "type": kind}


def assigned(*assignments: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a Set node."""
    return {"assignments": {"assignments": list(assignments)}, "options": {}}


def to(*names: str) -> dict[str, Any]:
    """One output for each name, in their order: the first output of an If node is `true`."""
    return {"main": [[{"node": name, "type": "main", "index": 0}] for name in names]}


def together(*names: str) -> dict[str, Any]:
    """One output that leads to several nodes."""
    return {"main": [[{"node": name, "type": "main", "index": 0} for name in names]]}


def waiting_again(what: str) -> dict[str, Any]:
    """The parameters of the node before another wait."""
    return assigned(assignment("waiting", f"The callback was that of an earlier {what}."))
