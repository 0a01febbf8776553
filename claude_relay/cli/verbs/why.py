"""`why`: the history of a job in plain words, and the command to run next."""

from __future__ import annotations

from typing import Any

import click

from ...core.jobs.events import EventName
from ...core.jobs.fallback import describe_switch
from ...core.wire import timestamp
from ..client import open_client
from ..render.last_reply import after_dead, last_reply
from ..render.output import Output, json_option, pass_output


@click.command()
@click.argument("request_id", metavar="ID")
@json_option
@pass_output
def why(output: Output, request_id: str) -> None:
    """Show the timeline of a job in plain words, and what to do next."""
    with open_client(output, reading=True) as client:
        record = client.record(request_id)
    timeline = _timeline(record)
    verdict, command = _verdict(record)
    if output.json:
        entries = [{"at": at, "text": text} for at, text in timeline]
        output.value({"requestId": request_id, "timeline": entries, "verdict": verdict, "next": command})
        return
    for at, text in timeline:
        output.line(f"{at}  {text}")
    output.line(verdict)
    if command:
        output.line(f"Next: {command}")


_PAID = "; if the batch answers all the same, that is paid for too"


def _timeline(record: dict[str, Any]) -> list[tuple[str, str]]:
    """All events, and the start of each answer, which only the ledger has."""
    lines, calls = [], iter(record["calls"])
    for event in record["events"]:
        lines.append((event["at"], _sentence(event)))
        call: dict[str, Any] = next(calls, {}) if event["event"] == EventName.CLAIMED else {}
        if call.get("firstByteAt") and _answered(call):
            lines.append((call["firstByteAt"], "Claude began to answer"))

    return sorted(lines, key=lambda line: line[0])


def _answered(call: dict[str, Any]) -> bool:
    """Whether the first byte was that of an answer: a refusal, such as a 401, has one as well."""
    return call["outcome"] in (None, "completed") or bool(call["responseLength"] or call["usage"])


def _sentence(event: dict[str, Any]) -> str:
    due = timestamp(event["dueAt"]) if event.get("dueAt") else ""
    error = f"{event.get('errorType')}: {event.get('error')}"
    answered = (
        f"it answered {event['statusCode']}" if event.get("statusCode") else str(event.get("error") or "no answer")
    )
    sentences: dict[str, str] = {
        EventName.SUBMITTED: "accepted and stored",
        EventName.FILE_FETCHED: f"files[{event.get('file')}] was fetched "
        f"({event.get('size')} bytes, {event.get('mediaType')})",
        EventName.CLAIMED: f"a worker took it (attempt {event.get('attempt')})",
        EventName.RESUMED: f"the call continues with another request ({event.get('error') or event.get('outcome')})",
        EventName.COMPLETED: f"Claude answered ({event.get('outputTokens')} tokens)",
        EventName.DEFERRED: f"the call failed ({error}); next attempt at {due}",
        EventName.RELEASED: "returned to the queue before anything was sent",
        EventName.BATCHED: f"put into a batch (attempt {event.get('attempt')})",
        EventName.UNBATCHED: f"taken out of the batch, without cost ({event.get('why')})",
        EventName.PROMOTED: "too late for a batch: to be called live" + _PAID * bool(event.get("paid")),
        EventName.LATE_RESULT: "the batch answered after all; that answer is not used, and its cost is in the ledger",
        EventName.FAILED: f"failed ({error})",
        EventName.SWITCHED: describe_switch(event),
        EventName.HELD: f"held, since the call was interrupted ({event.get('why')})",
        EventName.CANCEL_REQUESTED: "cancellation requested",
        EventName.CANCELLED: "cancelled",
        EventName.RETRIED: f"run again, run {event.get('run')}",
        EventName.DELIVERING: "sending the answer to the webhook",
        EventName.DELIVERED: f"delivered, {answered}",
        EventName.DELIVERY_DEFERRED: f"not delivered, {answered}; next attempt at {due}",
        EventName.DELIVERY_DEAD: f"delivery given up, {answered}",
        EventName.DELIVERY_RELEASED: "the sender was interrupted; it is sent again",
        EventName.ACKED: "the receiver acknowledged it",
        EventName.ACK_REMINDED: "not acknowledged: it is sent once more",
        EventName.REDELIVERED: "another delivery was requested",
    }
    name = str(event["event"])

    return sentences.get(name, name)


def _verdict(record: dict[str, Any]) -> tuple[str, str | None]:
    """The current state in a sentence, and the next command."""
    request_id, delivery = record["requestId"], record["delivery"]
    double = (
        " According to the ledger a call may have been paid for twice." if record["possibleDuplicateCharge"] else ""
    )
    if record["status"] == "processing" and (batch := record.get("batch")):
        size = f" of {batch['jobs']}, {batch['upstreamId']}" if batch["upstreamId"] else ""
        state = str(record["waitingFor"]).removeprefix("batch: ")
        schedule = f" The next poll is at {batch['nextLookAt']}; it may take until {batch['expiresAt'] or 'tomorrow'}."
        return f"It is in a batch{size}: {state}.{schedule}{double}", f"claude-relay wait {request_id}"
    if record["status"] == "processing":
        return "It is running." + double, f"claude-relay tail -f {request_id}"
    if record["status"] == "pending":
        reason = record["waitingFor"]
        if reason and reason.startswith("held"):
            return f"It waits for you: {reason}.{double}", f"claude-relay retry {request_id}"
        if reason in ("paused", "draining"):
            return f"It waits: the relay is {reason}.", "claude-relay resume"
        if reason == "group paused":
            return f"It waits: the group {record['group']} is paused.", f"claude-relay resume {record['group']}"
        position = f" Position {record['position']} in the queue." if record["position"] else ""
        return f"It waits{': ' + reason if reason else ' for a free slot'}.{position}{double}", "claude-relay status"
    if record["status"] == "failed" and delivery["status"] in ("none", "delivered"):
        command = f"retry {request_id}"
        if collection := record.get("collectionId"):
            command = f"table retry {collection} --row {record['row']}"
        return f"It failed: {record['error']}.{double}", f"claude-relay {command}   (costs tokens)"
    if delivery["status"] == "dead":
        cure, command = after_dead(record)
        return f"The result was not delivered, and is kept.{last_reply(record)}{cure}{double}", command
    if delivery["status"] == "pending":
        attempt = f" The next attempt is at {delivery['nextAttemptAt']}." if delivery["nextAttemptAt"] else ""
        if delivery.get("waitingFor"):
            attempt = f" It waits for {delivery['waitingFor']}.{attempt}"
        return (
            f"It has ended and is being delivered.{last_reply(record)}{attempt}{double}",
            f"claude-relay wait --for delivered {request_id}",
        )

    if record["acked"]:
        return f"It has ended, and was acknowledged at {record['acked']}.{double}", f"claude-relay result {request_id}"
    if record.get("unacked"):
        return (
            f"It was delivered, and not acknowledged.{double}",
            f"claude-relay redeliver {request_id}   (free)",
        )

    return f"It has ended and all is done.{double}", f"claude-relay result {request_id}"
