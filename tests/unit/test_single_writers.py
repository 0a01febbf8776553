"""Rules that have one place: transitions of jobs, names of events, words of the wire."""

from __future__ import annotations

import ast
from pathlib import Path

from claude_relay.core.deliveries.delivery import DeliveryState
from claude_relay.core.jobs.events import EventName
from claude_relay.core.jobs.holds import HoldKind
from claude_relay.core.jobs.job import State
from tests.support.sources import FILES, name_of, tree_of

#: SQL that writes to `jobs` without a transition: leases, the mark of a sent call, and times that a clock step moves.
JOB_UPDATES = {"storage/sql/batches.py", "storage/sql/clock_step.py", "storage/sql/jobs.py"}

#: Event names that are also states, outcomes or keys of JSON: their literals cannot be told apart.
_AMBIGUOUS = {EventName.RELEASED, EventName.ACKED}
EVENTS = {
    name.value
    for name in EventName
    if name not in _AMBIGUOUS and name.value not in {*map(str.__str__, State), *map(str.__str__, DeliveryState)}
}

#: The same words in other vocabularies: the cause of an alert, the remedy of a failure.
OTHER_WORDS = {
    "core/alerts.py": {"delivery_dead"},
    "core/jobs/failure.py": {"park"},
    "dashboard/needs.py": {"delivery_dead"},
}


def modules() -> list[Path]:
    return [path for path in FILES if "sandbox" not in path.parts]


def words_in_code(words: set[str], *, besides: str) -> dict[str, set[str]]:
    """The files in which one of the words is a string of its own; `besides` names the file that defines them."""
    uses = {}
    for path in modules():
        strings = {node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)}
        if path.name != besides and (used := strings & words - OTHER_WORDS.get(name_of(path), set())):
            uses[name_of(path)] = used

    return uses


def test_jobs_are_updated_in_the_listed_files_only() -> None:
    writers = {name_of(path) for path in FILES if "UPDATE jobs SET" in path.read_text()}
    assert writers <= JOB_UPDATES


def test_no_event_name_is_a_bare_literal() -> None:
    assert words_in_code(EVENTS, besides="events.py") == {}


def test_no_hold_scope_is_taken_apart_as_text() -> None:
    named = {f"{kind.value}:" for kind in (HoldKind.FAMILY, HoldKind.BUDGET)}
    assert words_in_code({*named, "unreachable", "park"}, besides="holds.py") == {}
