"""
Conversations: a job that goes on from another one, whose turns come first.

What it goes on from is decided when it is accepted and linked to it, run by run. The link keeps the earlier jobs from
the purge, so that no turn is copied, at any depth, and none can be gone by the time of the call.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.jobs.job import Job, Retain, State
from ..core.jobs.submission import Continuation, Exchange, Submission
from ..core.wire import timestamp
from ..errors import Conflict, InvalidRequest, NotFound, Problem
from ..ports import ReadTransaction
from . import model_fallback
from .context import Context

_FIELD = "continueFrom"

#: What of the earlier `options.raw` holds for the whole of a conversation, besides model and system prompt.
_LASTING = ("system", "tools", "mcp_servers", "betas")


@dataclass(frozen=True, kw_only=True)
class JoinedConversation:
    """A submission as it is once it knows what it goes on from."""

    submission: Submission
    earlier: Continuation | None  # None: nothing was answered until then, so that it begins anew


def join(tx: ReadTransaction, submission: Submission, owner: str, context: Context) -> JoinedConversation | None:
    """
    Find what `continueFrom` names among the owner's own jobs, and take over what the caller left out.

    None where it names nothing. Raises `InvalidRequest` for a job that is not there, and `Conflict` for one that has
    not ended or of which nothing is kept; both with the cure.
    """
    name = submission.request.get(_FIELD)
    if not name:
        return None

    job = _found(tx, name, owner)
    earlier, warnings = _answered(tx, job)
    if earlier is not None:
        _refuse_open_tools(tx, earlier, submission, name)
    # A failed job is passed over, but what it was told to be (model, system prompt) is what the caller last wanted.
    inherited = _inherit(submission, tx.options(job.id), context, now=tx.now)

    return JoinedConversation(submission=replace(inherited, warnings=(*inherited.warnings, *warnings)), earlier=earlier)


def turns_before(tx: ReadTransaction, job_id: str) -> Sequence[Exchange]:
    """All that was said before in that job's conversation, oldest first. Raises `NotFound` if any of it is gone."""
    said: list[Exchange] = []
    earlier = tx.earlier(job_id)
    while earlier is not None:
        said.append(_exchanged(tx, earlier))
        earlier = tx.earlier(earlier.job_id)

    return said[::-1]


def turns_up_to(tx: ReadTransaction, earlier: Continuation | None) -> Sequence[Exchange]:
    """The same for a job that is not there yet and would go on from that run."""
    return [] if earlier is None else [*turns_before(tx, earlier.job_id), _exchanged(tx, earlier)]


def _found(tx: ReadTransaction, name: str, owner: str) -> Job:
    """The owner's own job of that name: another owner's is as unknown as one that never was."""
    if jobs := tx.find(name, owner):
        return jobs[0]
    for gone in tx.tombstones(name, owner):
        raise _refused(
            f"names job {name}, which was purged at {timestamp(gone.purged_at)}, after its retention: "
            "send the turns themselves in messages, or leave continueFrom out to begin anew"
        )
    raise _refused(f"names job {name}, and there is no such job here: it may never have been accepted, or was purged")


def _answered(tx: ReadTransaction, job: Job) -> tuple[Continuation | None, tuple[str, ...]]:
    """The run to go on from: the latest that was completed; of a failed job, the one before it, if there is one."""
    name = job.request_id
    if not job.state.final:
        state = "running" if job.state is State.RUNNING else "waiting"
        raise Conflict(f"continueFrom: job {name} is still {state}: send this again once it has its answer")
    if job.retain is Retain.METADATA:
        raise Conflict(
            f"continueFrom: job {name} was sent with retain: metadata, so that its content is not kept to go on from: "
            "send the turns themselves in messages"
        )
    run = tx.last_answered(job.id)
    if run is not None:
        return Continuation(job_id=job.id, run=run), ()
    if job.state is State.COMPLETED:
        raise Conflict(f"continueFrom: the answer of job {name} was erased: send the turns themselves in messages")
    ended = f"job {name} {'failed' if job.state is State.FAILED else 'was cancelled'} and has no answer"
    earlier = tx.earlier(job.id)
    if earlier is None:
        return None, (f"{ended}, and nothing was said before it: the conversation begins anew, without its prompt",)
    return earlier, (f"{ended}: the conversation goes on from before it",)


def _refuse_open_tools(tx: ReadTransaction, earlier: Continuation, submission: Submission, name: str) -> None:
    """A tool that Claude asked for must have its result first: upstream would refuse anything else, after the wait."""
    blocks = tx.blocks(earlier.job_id, earlier.run) or []
    asked = [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
    given = {block.get("tool_use_id") for block in _first_blocks(submission.request)}
    if missing := [one for one in asked if one not in given]:
        raise _refused(
            f"names job {name}, whose answer asks for a tool: the first turn in messages must carry a tool_result for "
            f"{', '.join(missing)}"
        )


def _first_blocks(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    turns = request.get("messages") or ()
    content = turns[0].get("content") if turns else None

    return [block for block in content if isinstance(block, Mapping)] if isinstance(content, list) else []


def _inherit(submission: Submission, known: Mapping[str, Any], context: Context, *, now: float) -> Submission:
    options = dict(submission.request.get("options") or {})
    raw, before = dict(options.get("raw") or {}), known.get("raw") or {}
    own_system = "systemPrompt" in options or "system" in raw
    lasting = {name: before[name] for name in _LASTING if name in before and name not in raw}
    if own_system:
        lasting.pop("system", None)
    elif "systemPrompt" in known:
        options["systemPrompt"] = known["systemPrompt"]
    if lasting:
        options["raw"] = lasting | raw
    model, said = submission.model, submission.warnings
    if not submission.chosen_model and known.get("model", model) != model:
        model, warnings = model_fallback.resolve_model(known["model"], context, now=now)
        # The door has fitted them to another one.
        options, dropped = model_fallback.adapt_options(model, options, context)
        said = (*said, *warnings, *dropped)

    return replace(submission, model=model, request={**submission.request, "options": options}, warnings=said)


def _exchanged(tx: ReadTransaction, earlier: Continuation) -> Exchange:
    request, outcome = tx.request(earlier.job_id), tx.outcome(earlier.job_id, earlier.run)
    if request is None or not request.request or outcome is None or not outcome.body:
        raise NotFound("an earlier turn of the conversation is gone: send the turns themselves in messages")
    blocks = tx.blocks(earlier.job_id, earlier.run)
    answer = json.loads(outcome.body)["response"] if blocks is None else blocks

    return Exchange(request=_with_fetched(tx, earlier.job_id, request.request), answer=answer)


def _with_fetched(tx: ReadTransaction, job_id: str, request: dict[str, Any]) -> dict[str, Any]:
    """The request with the bytes of its files by address, as they were fetched for it then."""
    files = list(request.get("files") or ())
    for kept in tx.files(job_id) if any("url" in file for file in files) else ():
        data = base64.b64encode(tx.file_data(job_id, kept.number)).decode()
        files[kept.number] = {"data": data, "mediaType": kept.media_type, "name": kept.name}

    return {**request, "files": files} if files else request


def _refused(problem: str) -> InvalidRequest:
    return InvalidRequest(problems=[Problem(field=_FIELD, problem=problem)])
