"""Printing of a job's answer, and the wait for its delivery."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..client import RelayClient
    from .output import Output

_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def print_answer(output: Output, body: dict[str, Any], *, narrow: Callable[[str], str] | None = None) -> int:
    """Print the answer to stdout (`--json`: the complete body), or the error to stderr; return the exit code."""
    failed = body.get("status") != "completed"
    if output.json:
        output.value(body)
        return 5 if failed else 0
    if failed:
        output.message(f"The job failed ({body.get('errorType')}): {body.get('error')}")
        return 5
    text = body.get("response") or ""
    text = narrow(text) if narrow else text
    output.write(text if text.endswith("\n") else text + "\n")

    return 0


def code_block(text: str) -> str:
    """The first fenced code block, or all of the text if it has none."""
    match = _FENCE.search(text)

    return match[1] if match else text


def usage_line(body: dict[str, Any]) -> str:
    """Tokens and cost in one line."""
    usage, cost = body.get("usage") or {}, body.get("costUsd")
    tokens = f"{usage.get('input_tokens', 0)} tokens in, {usage.get('output_tokens', 0)} out"

    return tokens + ("" if cost is None else f", ${cost:.6f}".rstrip("0"))


def wait_for_delivery(output: Output, client: RelayClient, request_id: str, *, within: float) -> int:
    """Wait up to `within` seconds for the delivery; return 0 once it is delivered, otherwise 6."""
    give_up = time.monotonic() + within
    while (delivery := client.status(request_id)["delivery"])["status"] == "pending" and delivery["attempts"] == 0:
        if time.monotonic() > give_up:
            break
        time.sleep(0.1)
    if delivery["status"] == "delivered":
        return 0
    reason = (
        f"the webhook answered {delivery['lastStatusCode']}" if delivery["lastStatusCode"] else "no answer from it yet"
    )
    output.message(f"Answered but not delivered ({reason}): claude-relay why {request_id}")

    return 6
