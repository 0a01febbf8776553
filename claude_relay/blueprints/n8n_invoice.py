"""
The workflow for n8n that reads invoices: files in, values out, and a branch for those whose checks failed.

A form takes the files, so that the workflow runs without any account. A watched folder of Google Drive stands beside
it, switched off until it has one. The file is sent as it is, in a multipart form, under the name of a template.
"""

from __future__ import annotations

from typing import Any

from .n8n_parts import ITEM_ID, assignment, condition, import_file, loop, node, to, webhook_id
from .placeholders import Blank

# Every PDF of every item becomes an item of its own: a form or an e-mail may bring several.
_FILES = """const files = [];
for (const item of $input.all()) {
  for (const file of Object.values(item.binary ?? {})) {
    if (file.mimeType === 'application/pdf') files.push({ json: { file: file.fileName }, binary: { file } });
  }
}
return files;"""

#: -1: the answer was not checked, so a person must look at it.
_CHECKS_FAILED = "={{ $json.body?.checksFailed ?? -1 }}"
_FAILED_CHECKS = (
    "={{ !$json.body?.checks ? 'not checked: the template has no options.checks'"
    " : $json.body.checks.filter(check => check.ok === false).map(check => check.name + ' (' + check.rule + ')'"
    " + (check.left === null ? '' : ': ' + check.left + ' and ' + check.right + ', difference ' + check.difference))"
    ".join('\\n') }}"
)


def workflow(blank: Blank) -> dict[str, Any]:
    """The file to import."""
    nodes, connections = loop(
        blank,
        submit=_form(
            template=blank.template,
            webhookUrl="={{ $execution.resumeUrl }}",
            group=blank.group,
            requestId=f"={{{{ {ITEM_ID} }}}}",
            **{"variables[name]": "={{ $json.file }}", "metadata[file]": "={{ $json.file }}"},
        ),
        outcome=[
            assignment("file", "={{ $('Loop').first().json.file }}"),
            assignment("checksFailed", _CHECKS_FAILED, "number"),
            assignment("failedChecks", _FAILED_CHECKS),
        ],
        middle=[
            node("Checks passed?", "if", 2.2, 8, 50, condition("$json.checksFailed === 0")),
            node("Good", "noOp", 1, 9, -150, {}),  # own nodes follow here, with $json.json
            node("To a person", "noOp", 1, 9, 0, {}),  # and here, with $json.file and $json.failedChecks
        ],
        branches={
            "Complete?": to("Checks passed?", "Problem"),
            "Checks passed?": to("Good", "To a person"),
            "Good": to("Has an ackUrl?"),
            "To a person": to("Has an ackUrl?"),
        },
    )
    start = [
        node("Files are dropped here", "formTrigger", 2.2, 0, 0, _page()) | {"webhookId": webhook_id(blank)},
        node("A new file in the folder", "googleDriveTrigger", 1, 0, 200, _drive()) | {"disabled": True},
        node("Its content", "googleDrive", 3, 0, 380, _download()) | {"disabled": True},
        node("Each PDF", "code", 2, 1, 0, {"jsCode": _FILES}),
    ]
    return import_file(
        blank,
        [*start, *nodes],
        {
            "Files are dropped here": to("Each PDF"),
            "A new file in the folder": to("Its content"),
            "Its content": to("Each PDF"),
            "Each PDF": to("Loop"),
            **connections,
        },
        name="Invoices by claude-relay",
        variant="invoice",
    )


def _form(**fields: str) -> dict[str, Any]:
    """The body of a request as a multipart form, with the file of the item."""
    file = {"parameterType": "formBinaryData", "name": "files", "inputDataFieldName": "file"}
    texts = [{"parameterType": "formData", "name": name, "value": value} for name, value in fields.items()]

    return {"contentType": "multipart-form-data", "bodyParameters": {"parameters": [*texts, file]}}


def _page() -> dict[str, Any]:
    field = {
        "fieldLabel": "Invoices",
        "fieldType": "file",
        "multipleFiles": True,
        "acceptFileTypes": ".pdf",
        "requiredField": True,
    }
    return {
        "formTitle": "Invoices",
        "formDescription": "Drop the PDFs here. Each is read by Claude, and its sums are checked.",
        "formFields": {"values": [field]},
        "options": {},
    }


def _drive() -> dict[str, Any]:
    return {
        "pollTimes": {"item": [{"mode": "everyMinute"}]},
        "triggerOn": "specificFolder",
        "folderToWatch": {"__rl": True, "mode": "list", "value": ""},
        "event": "fileCreated",
        "options": {},
    }


def _download() -> dict[str, Any]:
    return {"operation": "download", "fileId": {"__rl": True, "mode": "id", "value": "={{ $json.id }}"}, "options": {}}
