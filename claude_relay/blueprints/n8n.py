"""The workflow for n8n: for each item it submits, waits for the callback, branches by the outcome and acknowledges."""

from __future__ import annotations

import json
from typing import Any

from .n8n_parts import ITEM_ID, assigned, assignment, import_file, loop, node, to
from .placeholders import Blank

# One expression: JSON.stringify escapes the prompt.
_BODY = (
    "={{{{ JSON.stringify({{prompt: $json.prompt, webhookUrl: $execution.resumeUrl, group: {group},"
    " requestId: {id}}}) }}}}"
)
_PROMPT = "Write a haiku about a queue that loses nothing."


def workflow(blank: Blank) -> dict[str, Any]:
    """The file to import."""
    body = _BODY.format(group=json.dumps(blank.group), id=ITEM_ID)
    nodes, connections = loop(blank, submit={"specifyBody": "json", "jsonBody": body})
    start = [
        node("Start", "manualTrigger", 1, 0, 0, {}),
        node("Prompt", "set", 3.4, 1, 0, assigned(assignment("prompt", _PROMPT))),
    ]
    return import_file(
        blank,
        [*start, *nodes],
        {"Start": to("Prompt"), "Prompt": to("Loop"), **connections},
        name="Claude by claude-relay",
    )
