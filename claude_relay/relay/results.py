"""What the result of one item means for its job, while it waits for it and afterwards. Inside one transaction."""

from __future__ import annotations

from dataclasses import replace

from ..core import batched, fallback, machine
from ..core.change import Change, warned
from ..core.failure import Completion, ErrorType, Failure, Remedy, Repair
from ..core.job import State
from ..ports import Unit
from . import endings, turning
from .values import InBatch, Tools
from .work import charge, hold_back, once_mended, unpark

#: What is better asked live: no batch can go on after a pause, ask for a schema in words, or store its files first.
LIVE_AFTER = ("pause_turn", "schema_refused", "item_too_large")


def take_in(
    unit: Unit, one: InBatch, end: Completion | Failure, tools: Tools, *, canceled: bool = False
) -> Change | None:
    """
    An outcome and its delivery, or another try.

    Where nobody waits for it any more, the answer is dropped and what it cost is booked. `canceled`: its batch was
    given up before Claude came to it, so that an auto job goes live without a double cost.
    """
    job, call, now = one.job, one.call, unit.now
    if isinstance(end, Completion):
        # Also for a job that was promoted and of which nothing was sent since.
        if job.state in (State.BATCHED, State.QUEUED) and (job.calls, job.run) == (call.number, call.run):
            change = machine.complete(replace(job, lane="batch"), end, token=None, call=call, now=now)
            charge(unit, change)
            return endings.save(unit, replace(change, before=job), tools, done=end)
        return _book(unit, one, end.usage, end.cost_usd, end.model)
    if not one.awaited:
        return _book(unit, one, end.usage, end.cost_usd, end.model or "") if end.usage else None
    if canceled and job.give_up_at is not None:
        change = batched.promote(job, call=call, now=now)
        unit.save(change)
        return change

    return fail(unit, one, end, tools)


def fail(unit: Unit, one: InBatch, failure: Failure, tools: Tools) -> Change:
    """A try that did not end well, by the same rules as a live one."""
    end = once_mended(unit, one.job, failure)
    if failure.reason in LIVE_AFTER:  # not a try that failed: a live call does it within one
        end = replace(end, remedy=Remedy.WAIT, retry_after=0.0)
    change = machine.fail(
        one.job,
        end,
        token=None,
        call=one.call,
        policy=tools.policy,
        now=unit.now,
        chance=tools.random.random(),
    )
    if failure.reason in LIVE_AFTER and change.job.state is State.QUEUED:
        change = replace(change, job=replace(change.job, lane="live", due_at=unit.now))
        change = warned(change, f"it left its batch and was called live, at the full price: {end.message}")
    if failure.shows_the_key_works:
        unpark(unit, one.call.started_at)
    if end.type is ErrorType.SCHEMA and not change.job.state.final:
        unit.save_repair(one.job.id, one.job.run, Repair(text=end.partial, problem=end.message))
    if failure.remedy is Remedy.PARK:
        hold_back(unit, one.job, change, failure)
    change = fallback.instead_of_failing(change, failure, closed=turning.closed_families(unit))
    charge(unit, change)

    return endings.save(unit, change, tools, partial=failure.partial)


def _book(unit: Unit, one: InBatch, usage: dict[str, int] | None, cost_usd: float | None, model: str) -> Change:
    change = batched.book(one.job, call=one.call, usage=usage, cost_usd=cost_usd, model=model, now=unit.now)
    unit.save(change)
    charge(unit, change)

    return change
