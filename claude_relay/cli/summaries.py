"""The sentence of each verb in the list of `--help`, so that the list imports no verb; a test compares."""

from __future__ import annotations

from collections.abc import Mapping

SUMMARIES: Mapping[str, str] = {
    "serve": "Run the API in the foreground.",
    "worker": "Run a worker in the foreground: it makes the calls and delivers the answers.",
    "demo": "Run the whole path without a key or cost: a folder of invoices in, checked values out to a webhook.",
    "submit": "Submit a prompt; prints its requestId, or with --wait only the answer.",
    "template": "Save, list, show and delete templates: submit bodies with {{placeholders}}.",
    "table": "Submit a table: each row becomes a job, and one callback follows when all have ended.",
    "status": "Show the status of jobs; without an ID an overview of the relay.",
    "result": "Print the answer; with --json the body of the callback.",
    "wait": "Wait for jobs.",
    "list": "List jobs, newest first.",
    "search": "List jobs with TEXT in their prompt, answer or id.",
    "tail": "Show the events of all jobs; with an ID the answer of that job as it is written.",
    "why": "Show the timeline of a job in plain words, and what to do next.",
    "cost": "Show spending in US dollars; days are UTC, and count as a whole.",
    "retry": (
        "Run jobs again, which costs tokens: those IDs, or those that the filters select, without --status the failed."
    ),
    "redeliver": "Deliver stored results again, without cost: those IDs, or those that the filters select.",
    "cancel": "Cancel jobs, even while they run; their webhooks get a failed callback.",
    "pause": "Start no more jobs of GROUP, or none at all; running jobs continue.",
    "drain": "Accept no more jobs, and wait until the relay is idle: no call runs, and no callback is due.",
    "resume": "Resume GROUP, or all jobs, also after a drain or a spend limit.",
    "listen": (
        "Receive callbacks on this machine; print them, and whether their signatures are valid (RELAY_WEBHOOK_SECRET)."
    ),
    "blueprint": "Write scenarios to import into Make.com or n8n.",
    "doctor": "Check settings, secrets, permissions, units, clock, disk and store; print the fix for each fault.",
    "alerts": "Evaluate the alerts once and send the due ones to RELAY_ALERT_URL.",
    "keys": "Manage named API keys, and the signing secret of callbacks (webhook).",
    "backup": "Copy the store to FILE, consistently, while everything runs.",
    "restore": "Replace the store with the backup FILE.",
    "purge": "Erase jobs past their retention now instead of within the hour.",
    "migrate": "Create the store, or migrate it to the current schema.",
    "config": "Show and check the settings, or write an initial settings file.",
    "completion": 'Print the completion script: eval "$(claude-relay completion bash)" in your shell\'s start-up file.',
    "openapi": "Print the OpenAPI 3.1 document of the HTTP API, as GET /openapi.json answers it.",
}
