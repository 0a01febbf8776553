"""The filters that select jobs: one set for list, retry, redeliver, cancel and cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from ..lazy_dataclass import dataclass

if TYPE_CHECKING:
    from .failure import ErrorType
    from .job import State

#: The filters by name: as a query parameter, as a field of a body and, with `--`, as an option.
FILTERS = ("status", "group", "key", "model", "host", "error", "since", "until", "dead", "unacked")
#: The filters that a verb adds where neither a status nor the state of the delivery is named.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "retry": {"status": ("failed",)},
    "redeliver": {"dead": True},
    "cancel": {"status": ("pending", "processing")},
}


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs to list, newest first. `before` is the last id of the previous page (a keyset, never an offset)."""

    owner: str | None = None  # the jobs that the caller may see; None: every owner's
    states: Collection[State] = ()
    group: str | None = None
    key: str | None = None  # the owner that is asked for
    model: str | None = None
    host: str | None = None  # whose delivery goes to that destination or host
    errors: Collection[ErrorType] = ()
    since: float | None = None
    until: float | None = None  # created before that time
    text: str | None = field(default=None, repr=False)  # in prompt, answer, requestId
    dead: bool = False  # whose delivery is dead
    unacked: bool = False
    before: str | None = None
    limit: int = 50

    @property
    def selective(self) -> bool:
        """Whether no index has its jobs side by side, and others must be read."""
        if self.unacked:  # an index has those
            return False
        others = bool(self.model is not None or self.host is not None or self.errors)
        by_group, by_owner = self.group is not None, self.owner is not None or self.key is not None

        return others or (by_group and self.dead) or ((by_group or self.dead) and bool(self.states or by_owner))

    @property
    def narrow(self) -> bool:
        """Whether more is asked for than an owner, a time and the state of the delivery."""
        return bool(self.states or self.errors) or not (self.group is self.model is self.host is None)

    @property
    def reads_jobs(self) -> bool:
        """Whether the sums of the ledger, kept by day, key, group and model, cannot answer it."""
        return bool(self.states or self.errors or self.host or self.text or self.dead or self.unacked)


def with_defaults(verb: str, filters: Mapping[str, Any]) -> dict[str, Any]:
    """The filters of a verb, with its default if neither a status nor the state of the delivery is named."""
    named = any(filters.get(name) for name in ("status", "dead", "unacked"))

    return {**filters, **({} if named else DEFAULTS[verb])}
