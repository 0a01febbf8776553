"""`why`: a job's story in plain words, and the next command."""

from __future__ import annotations

from typing import Any

import click

from ...core.jobs.events import EventName
from ...core.jobs.fallback import describe_switch as told_of_turn
from ...core.wire import timestamp
from ..client import open_client
from ..render.output import Output, json_option, pass_output


@click.command()
@click.argument("request_id", metavar="ID")
@json_option
@pass_output
def why(output: Output, request_id: str) -> None:
    """The timeline of a job in plain words, and what to do next."""
    with open_client(output) as desk:
        record = desk.record(request_id)
    told = _timeline(record)
    verdict, command = _verdict(record)
    if output.json:
        timeline = [{"at": at, "text": text} for at, text in told]
        output.value({"requestId": request_id, "timeline": timeline, "verdict": verdict, "next": command})
        return
    for at, text in told:
        output.line(f"{at}  {text}")
    output.line(verdict)
    if command:
        output.line(f"Next: {command}")


_PAID = "; what the batch answers all the same is paid for, too"


def _timeline(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Every move, and the moments that only the ledger knows: when an answer began."""
    lines, calls = [], iter(record["calls"])
    for event in record["events"]:
        lines.append((event["at"], _sentence(event)))
        call: dict[str, Any] = next(calls, {}) if event["event"] == EventName.CLAIMED else {}
        if call.get("firstByteAt"):
            lines.append((call["firstByteAt"], "Claude began to answer"))

    return sorted(lines, key=lambda line: line[0])


def _sentence(event: dict[str, Any]) -> str:
    due = timestamp(event["dueAt"]) if event.get("dueAt") else ""
    error = f"{event.get('errorType')}: {event.get('error')}"
    answered = (
        f"it answered {event['statusCode']}" if event.get("statusCode") else str(event.get("error") or "no answer")
    )
    words: dict[str, str] = {
        EventName.SUBMITTED: "accepted and stored",
        EventName.FILE_FETCHED: f"files[{event.get('file')}] was fetched "
        f"({event.get('size')} bytes, {event.get('mediaType')})",
        EventName.CLAIMED: f"a worker took it (attempt {event.get('attempt')})",
        EventName.RESUMED: f"the call goes on with another request ({event.get('error') or event.get('outcome')})",
        EventName.COMPLETED: f"Claude answered ({event.get('outputTokens')} tokens)",
        EventName.DEFERRED: f"the call did not work ({error}); again at {due}",
        EventName.RELEASED: "given back before anything was sent",
        EventName.BATCHED: f"put into a batch (attempt {event.get('attempt')})",
        EventName.UNBATCHED: f"out of the batch again, and nothing was paid ({event.get('why')})",
        EventName.PROMOTED: "too late for a batch: to be called live" + _PAID * bool(event.get("paid")),
        EventName.LATE_RESULT: "the batch answered after all; nobody waits for that answer, and it is in the ledger",
        EventName.FAILED: f"failed ({error})",
        EventName.SWITCHED: told_of_turn(event),
        EventName.HELD: f"held, since the call was interrupted ({event.get('why')})",
        EventName.CANCEL_REQUESTED: "someone asked to cancel it",
        EventName.CANCELLED: "cancelled",
        EventName.RETRIED: f"run again, run {event.get('run')}",
        EventName.DELIVERING: "sending the answer to the webhook",
        EventName.DELIVERED: f"delivered, {answered}",
        EventName.DELIVERY_DEFERRED: f"not delivered, {answered}; again at {due}",
        EventName.DELIVERY_DEAD: f"delivery given up, {answered}",
        EventName.DELIVERY_RELEASED: "the sender was interrupted; it is sent again",
        EventName.ACKED: "the receiver said that it was applied",
        EventName.ACK_REMINDED: "nobody has said that it was applied: it is sent once more",
        EventName.REDELIVERED: "someone asked to send it again",
    }
    return words.get(event["event"], event["event"])


def _verdict(record: dict[str, Any]) -> tuple[str, str | None]:
    name, delivery = record["requestId"], record["delivery"]
    double = " The ledger admits that a call may have been paid for twice." if record["possibleDuplicateCharge"] else ""
    if record["status"] == "processing" and (batch := record.get("batch")):
        which = f" of {batch['jobs']}, {batch['upstreamId']}" if batch["upstreamId"] else ""
        state = str(record["waitingFor"]).removeprefix("batch: ")
        look = f" The next look is at {batch['nextLookAt']}; it may take until {batch['expiresAt'] or 'tomorrow'}."
        return f"It is in a batch{which}: {state}.{look}{double}", f"claude-relay wait {name}"
    if record["status"] == "processing":
        return "It is running." + double, f"claude-relay tail -f {name}"
    if record["status"] == "pending":
        reason = record["waitingFor"]
        if reason and reason.startswith("held"):
            return f"It waits for you: {reason}.{double}", f"claude-relay retry {name}"
        if reason == "paused":
            return "It waits: the relay is paused.", "claude-relay resume"
        if reason == "group paused":
            return f"It waits: the group {record['group']} is paused.", f"claude-relay resume {record['group']}"
        place = f" Place {record['position']} in the queue." if record["position"] else ""
        return f"It waits{': ' + reason if reason else ' for a free slot'}.{place}{double}", "claude-relay status"
    if record["status"] == "failed" and delivery["status"] in ("none", "delivered"):
        return f"It failed: {record['error']}.{double}", f"claude-relay retry {name}   (costs tokens)"
    if delivery["status"] == "dead":
        return f"The result was not delivered, and it is kept.{double}", f"claude-relay redeliver {name}   (free)"
    if delivery["status"] == "pending":
        when = f" The next attempt is at {delivery['nextAttemptAt']}." if delivery["nextAttemptAt"] else ""
        if delivery.get("waitingFor"):
            when = f" It waits for {delivery['waitingFor']}.{when}"
        return (
            f"It has ended and is on its way to the webhook.{when}{double}",
            f"claude-relay wait --for delivered {name}",
        )

    if record["acked"]:
        return f"It has ended, and was applied at {record['acked']}.{double}", f"claude-relay result {name}"
    if record.get("unacked"):
        return (
            f"It was delivered, and nobody has said that it was applied.{double}",
            f"claude-relay redeliver {name}   (free)",
        )

    return f"It has ended and all is done.{double}", f"claude-relay result {name}"
