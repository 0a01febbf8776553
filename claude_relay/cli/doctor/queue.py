"""Checks of the queue: each stop with its cause in the upstream's words and its cure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...core.jobs import park
from ...core.jobs.holds import BATCHES, DRAIN, PARK, PAUSE, UNREACHABLE, HoldKind, HoldScope
from .finding import Finding, failure, ok, warning
from .system import RESTART_FOR_SECRETS, System

#: A warning is due for a job that has been due for longer than this, in seconds.
_MAX_WAIT = 600.0


def check(overview: dict[str, Any], system: System | None = None, *, max_queue: int | None = None) -> Iterator[Finding]:
    """
    Check that nothing stops the queue, and that jobs and deliveries make progress.

    `system` None: the relay is on another machine, and so are the cures that need one.
    """
    for hold in overview["holds"]:
        yield from _hold(hold, system)
    waiting = overview["jobs"]["queued"]
    if max_queue is not None and waiting >= max_queue:
        detail = f"{waiting} jobs wait, as many as RELAY_MAX_QUEUE allows: no job is accepted"
        yield failure("queue", detail, "claude-relay status shows what they wait for")
    yield from progress(overview)


def progress(overview: dict[str, Any]) -> Iterator[Finding]:
    """Check that jobs and deliveries make progress."""
    jobs, deliveries, oldest = overview["jobs"], overview["deliveries"], overview["oldestWaitingSeconds"]
    if oldest is not None and oldest > _MAX_WAIT:
        detail = f"{jobs['queued']} jobs wait, the oldest of the due ones for {oldest / 60:.0f} minutes"
        fix = "claude-relay status, and claude-relay why ID of the oldest shows what it waits for"
        yield warning("queue", detail, fix)
    if jobs["held"]:
        detail = f"{jobs['held']} jobs are held: a crash interrupted their call, and their onInterrupt is hold"
        yield warning("held", detail, "claude-relay list --status pending, then: claude-relay retry ID, or cancel ID")
    for group in overview["paused"]:
        yield warning("groups", f"the group {group} is paused", f"claude-relay resume {group}")
    if deliveries["dead"]:
        detail = f"{deliveries['dead']} callbacks were given up; the answers are kept"
        yield warning("deliveries", detail, "claude-relay list --dead, then: claude-relay redeliver --dead")
    else:
        yield ok("deliveries", f"{deliveries['pending'] + deliveries['sending']} in flight, none given up")


def _hold(hold: dict[str, Any], system: System | None) -> Iterator[Finding]:
    scope, detail = HoldScope.parse(hold["scope"]), hold.get("detail", "")
    words = f": {detail}" if detail else ""
    until = f" until {hold['until']}" if hold["until"] else ""
    if scope == PARK:
        yield failure("queue", f"no job runs ({hold['reason']}){words}", _park_fix(hold["reason"], system))
    elif scope == DRAIN:
        yield failure("queue", "no job is accepted: the relay is drained", "claude-relay resume")
    elif scope == PAUSE:
        yield failure("queue", f"no job runs: the relay is {hold['reason']}", "claude-relay resume")
    elif scope == UNREACHABLE:
        fix = "claude-relay doctor --upstream shows where a call ends"
        yield failure("queue", f"Anthropic cannot be reached, one job probes{words}", _on_its_machine(fix, system))
    elif scope == BATCHES:
        fix = "claude-relay status; they are sent by themselves"
        yield warning("queue", f"no batch is sent{until} ({hold['reason']}){words}", fix)
    elif scope.kind is HoldKind.BUDGET:
        fix = f"claude-relay keys list; a key with another budget: claude-relay keys add NAME (now {scope.name})"
        yield warning("queue", f"the daily budget of {scope.name} is spent: its jobs wait{until}", fix)


def _park_fix(reason: str, system: System | None) -> str:
    """The commands that end a park; on a server the file of the key is named."""
    resume = "claude-relay resume"
    if reason != park.KEY_REFUSED or system is None:
        return f"{_on_its_machine(park.cure(reason), system)}; then: {resume}"
    if system.under_systemd:
        path = system.credentials / "ANTHROPIC_API_KEY"
        write = f"install -m 600 /dev/stdin {path}   (paste a new key, Enter, Ctrl-D)"
        return f"{write}, then: {RESTART_FOR_SECRETS} && {resume}"

    return f"{system.set_command('ANTHROPIC_API_KEY=sk-ant-…')} (a new key), then: {resume}"


def _on_its_machine(fix: str, system: System | None) -> str:
    return fix if system is not None else f"on its machine: {fix}"
