"""
Conversations: a job that continues another one, whose turns come first.

The earlier run is chosen when the job is accepted, and linked to it. The link keeps the earlier jobs from the purge, so
that no turn is copied, at any depth, and none can be missing at the time of the call.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.jobs.job import Job, Retain, State
from ..core.jobs.submission import Continuation, Exchange, Submission
from ..core.lazy_dataclass import dataclass
from ..core.wire import timestamp
from ..errors import Conflict, InvalidRequest, NotFound
from . import model_fallback

if TYPE_CHECKING:
    from ..ports import ReadTransaction
    from .context import Context

_FIELD = "continueFrom"

#: Fields of the earlier `options.raw` that hold for a complete conversation, besides model and system prompt.
_INHERITED_RAW = ("system", "tools", "mcp_servers", "betas")


@dataclass(frozen=True, kw_only=True)
class JoinedConversation:
    """A submission with the options that it inherits, and the run that it continues."""

    submission: Submission
    earlier: Continuation | None  # None: no turn has an answer yet, so the conversation starts again


def join(tx: ReadTransaction, submission: Submission, owner: str, context: Context) -> JoinedConversation | None:
    """
    Find the job of `continueFrom` among the owner's own, and inherit the options that the caller left out.

    None without `continueFrom`. Raises `InvalidRequest` for a job that does not exist, and `Conflict` for one that has
    not ended or whose content is not kept; both with the cure.
    """
    name = submission.request.get(_FIELD)
    if not name:
        return None

    job = _find_job(tx, name, owner)
    earlier, warnings = _answered_run(tx, job)
    if earlier is not None:
        _refuse_open_tools(tx, earlier, submission, name)
    # A failed job is skipped, but its options (model, system prompt) are what the caller wanted last.
    inherited = _inherit(submission, tx.options(job.id), context, now=tx.now)

    return JoinedConversation(submission=replace(inherited, warnings=(*inherited.warnings, *warnings)), earlier=earlier)


def earlier_turns(tx: ReadTransaction, job_id: str) -> Sequence[Exchange]:
    """The earlier turns of a job's conversation, oldest first. Raises `NotFound` if any of them was erased."""
    turns: list[Exchange] = []
    earlier = tx.earlier(job_id)
    while earlier is not None:
        turns.append(_exchange(tx, earlier))
        earlier = tx.earlier(earlier.job_id)

    return turns[::-1]


def turns_through(tx: ReadTransaction, earlier: Continuation | None) -> Sequence[Exchange]:
    """The turns of a conversation up to and including that run, oldest first."""
    return [] if earlier is None else [*earlier_turns(tx, earlier.job_id), _exchange(tx, earlier)]


def _find_job(tx: ReadTransaction, name: str, owner: str) -> Job:
    """The owner's own job of that name; another owner's job gives the same error as none."""
    if jobs := tx.find(name, owner):
        return jobs[0]
    for tombstone in tx.tombstones(name, owner):
        raise _invalid(
            f"names job {name}, which was purged at {timestamp(tombstone.purged_at)}, after its retention: "
            "send the turns themselves in messages, or leave out continueFrom to start a new conversation"
        )
    raise _invalid(f"names job {name}, and there is no such job here: it may never have been accepted, or was purged")


def _answered_run(tx: ReadTransaction, job: Job) -> tuple[Continuation | None, tuple[str, ...]]:
    """The latest completed run of the job; for a failed job the run that it continued itself, with a warning."""
    name = job.request_id
    if not job.state.final:
        state = "running" if job.state is State.RUNNING else "waiting"
        raise Conflict(f"continueFrom: job {name} is still {state}: send this again once it has its answer")
    if job.retain is Retain.METADATA:
        raise Conflict(
            f"continueFrom: job {name} was sent with retain: metadata, so its content is not kept: "
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
        return None, (f"{ended}, and there is no earlier turn: the conversation starts again, without its prompt",)
    return earlier, (f"{ended}: the conversation continues from the turn before it",)


def _refuse_open_tools(tx: ReadTransaction, earlier: Continuation, submission: Submission, name: str) -> None:
    """Require a result for each tool that Claude asked for: upstream would refuse anything else, after the wait."""
    blocks = tx.blocks(earlier.job_id, earlier.run) or []
    requested = [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
    given = {block.get("tool_use_id") for block in _first_blocks(submission.request)}
    if missing := [tool_id for tool_id in requested if tool_id not in given]:
        raise _invalid(
            f"names job {name}, whose answer asks for a tool: the first turn in messages must carry a tool_result for "
            f"{', '.join(missing)}"
        )


def _first_blocks(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    turns = request.get("messages") or ()
    content = turns[0].get("content") if turns else None

    return [block for block in content if isinstance(block, Mapping)] if isinstance(content, list) else []


def _inherit(submission: Submission, earlier: Mapping[str, Any], context: Context, *, now: float) -> Submission:
    """The submission with the options of the earlier job that it does not set itself."""
    options = dict(submission.request.get("options") or {})
    raw, earlier_raw = dict(options.get("raw") or {}), earlier.get("raw") or {}
    has_system = "systemPrompt" in options or "system" in raw
    inherited = {name: earlier_raw[name] for name in _INHERITED_RAW if name in earlier_raw and name not in raw}
    if has_system:
        inherited.pop("system", None)
    elif "systemPrompt" in earlier:
        options["systemPrompt"] = earlier["systemPrompt"]
    if inherited:
        options["raw"] = inherited | raw
    model, warnings = submission.model, submission.warnings
    if not submission.chosen_model and earlier.get("model", model) != model:
        model, notes = model_fallback.resolve_model(earlier["model"], context, now=now)
        # Intake has fitted the options to another model.
        options, dropped = model_fallback.adapt_options(model, options, context)
        warnings = (*warnings, *notes, *dropped)

    return replace(submission, model=model, request={**submission.request, "options": options}, warnings=warnings)


def _exchange(tx: ReadTransaction, run: Continuation) -> Exchange:
    request, outcome = tx.request(run.job_id), tx.outcome(run.job_id, run.run)
    if request is None or not request.request or outcome is None or not outcome.body:
        raise NotFound("an earlier turn of the conversation was erased: send the turns themselves in messages")
    blocks = tx.blocks(run.job_id, run.run)
    answer = json.loads(outcome.body)["response"] if blocks is None else blocks

    return Exchange(request=_with_fetched(tx, run.job_id, request.request), answer=answer)


def _with_fetched(tx: ReadTransaction, job_id: str, request: dict[str, Any]) -> dict[str, Any]:
    """The request with the bytes of its files from URLs, as they were fetched for that job."""
    files = list(request.get("files") or ())
    for fetched in tx.files(job_id) if any("url" in file for file in files) else ():
        data = base64.b64encode(tx.file_data(job_id, fetched.number)).decode()
        files[fetched.number] = {"data": data, "mediaType": fetched.media_type, "name": fetched.name}

    return {**request, "files": files} if files else request


def _invalid(problem: str) -> InvalidRequest:
    return InvalidRequest.at(_FIELD, problem)
