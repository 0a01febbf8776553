"""
The workflow for n8n that sends a sheet: all rows in one request, one callback.

The results are rows again. A callback that is too large comes without them: then they are fetched.
"""

from __future__ import annotations

import json
from typing import Any

from .n8n_parts import (
    RETRY,
    WAIT_HOURS,
    acknowledgement,
    assigned,
    assignment,
    condition,
    import_file,
    node,
    stop,
    to,
    together,
    waiting,
    waiting_again,
)
from .placeholders import Blank

# Rows to begin with; their names are the placeholders of the template.
_ROWS = "return [{ json: { text: 'First row' } }, { json: { text: 'Second row' } }];"
# All items are one request. A repeat of the node is the same collection.
_BODY = (
    "={{{{ JSON.stringify({{collectionId: ['n8n', $workflow.id, $execution.id].join('-'), template: {template},"
    " rows: $input.all().map(item => item.json), webhookUrl: $execution.resumeUrl, group: {group}}}) }}}}"
)
_ID = "$('Submit').first().json.collectionId"
_PROBLEM = (
    "={{{{ !$json.body ? 'timeout: no callback of ' + {id} + ' came within {hours} hours, and this execution no longer"
    " waits for one. Its results cost nothing: GET {url}/api/collections/' + {id} + '/results with the key, or on the"
    " relay: claude-relay table results ' + {id}"
    " : $json.body.failed ? $json.body.failed + ' of ' + $json.body.total + ' rows failed' : '' }}}}"
)
# The input's columns, then those of the answer. Fetched results come as an item a row.
_JOIN = """const rows = $('Rows').all();
const outcome = $('Outcome').first().json;
const results = outcome.truncated ? $input.all().map(item => item.json) : outcome.results;
return results.map(item => ({
  json: {
    ...rows[item.row - 1]?.json, ...item.json,
    row: item.row, requestId: item.requestId, status: item.status,
    response: item.response ?? '', error: item.error ?? '', checksFailed: item.checksFailed ?? null,
  },
}));"""


def workflow(blank: Blank) -> dict[str, Any]:
    """The file to import."""
    headers = {"parameters": [{"name": "X-API-Key", "value": blank.key}]}
    submit = {
        "method": "POST",
        "url": f"{blank.url}/api/collections",
        "sendHeaders": True,
        "headerParameters": headers,
        "sendBody": True,
        "specifyBody": "json",
        "jsonBody": _BODY.format(template=json.dumps(blank.template), group=json.dumps(blank.group)),
        "options": {"timeout": 120_000},
    }
    fetch = {
        "url": f"={blank.url}/api/collections/{{{{ $('Outcome').first().json.collectionId }}}}/results?format=json",
        "sendHeaders": True,
        "headerParameters": headers,
        "options": {"timeout": 300_000},
    }
    outcome = assigned(
        assignment("collectionId", f"={{{{ {_ID} }}}}"),
        assignment("problem", _PROBLEM.format(id=_ID, hours=WAIT_HOURS, url=blank.url)),
        assignment("ackUrl", "={{ $json.body?.ackUrl ?? '' }}"),
        assignment("results", "={{ $json.body?.results ?? [] }}", "array"),
        assignment("truncated", "={{ $json.body?.resultsTruncated ?? false }}", "boolean"),
    )
    nodes = [
        node("Start", "manualTrigger", 1, 0, 0, {}),
        node("Rows", "code", 2, 1, 0, {"jsCode": _ROWS}),  # own nodes instead, such as Google Sheets or a CSV file
        node("Submit", "httpRequest", 4.2, 2, 0, submit) | RETRY | {"executeOnce": True},
        node("Wait for the callback", "wait", 1.1, 3, 0, waiting()),
        node("Of this sheet?", "if", 2.2, 4, 0, condition(f"!$json.body || $json.body.collectionId === {_ID}")),
        node("Wait again", "set", 3.4, 4, 200, waiting_again("sheet")),
        node("Outcome", "set", 3.4, 5, 0, outcome),
        node("In the callback?", "if", 2.2, 6, 0, condition("!$json.truncated")),
        node("Fetch the results", "httpRequest", 4.2, 7, 200, fetch) | RETRY,
        node("Each row", "code", 2, 8, 0, {"jsCode": _JOIN}),
        node("Completed?", "if", 2.2, 9, 0, condition("$json.status === 'completed'")),
        node("Result rows", "noOp", 1, 10, -100, {}),  # own nodes follow here: columns of the input and of the answer
        node("Failed rows", "noOp", 1, 10, 100, {}),  # with $json.error
        # After the rows: n8n follows the connections of a node from the top of the canvas to its bottom.
        *acknowledgement(x=6, y=400),
        node("Any problem?", "if", 2.2, 9, 400, condition("!!$json.problem")),
        stop(10, 400, "={{ $json.collectionId + ': ' + $json.problem }}"),
    ]
    connections = {
        "Start": to("Rows"),
        "Rows": to("Submit"),
        "Submit": to("Wait for the callback"),
        "Wait for the callback": to("Of this sheet?"),
        "Of this sheet?": to("Outcome", "Wait again"),
        "Wait again": to("Wait for the callback"),
        "Outcome": together("In the callback?", "Has an ackUrl?"),
        "In the callback?": to("Each row", "Fetch the results"),
        "Fetch the results": to("Each row"),
        "Each row": to("Completed?"),
        "Completed?": to("Result rows", "Failed rows"),
        "Has an ackUrl?": to("Acknowledge", "Result"),
        "Acknowledge": to("Result"),
        "Result": to("Any problem?"),
        "Any problem?": to("Stop and Error"),
    }
    return import_file(blank, nodes, connections, name="A sheet by claude-relay", variant="sheet")
