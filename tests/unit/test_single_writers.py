"""Rules that have one place: transitions of jobs, names of events, words of the wire."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from claude_relay.core.deliveries.delivery import DeliveryState
from claude_relay.core.jobs.events import EventName
from claude_relay.core.jobs.holds import HoldKind
from claude_relay.core.jobs.job import State

PACKAGE = Path(__file__).parents[2] / "claude_relay"

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
    "dashboard/overview.py": {"delivery_dead"},
}


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "sandbox" not in path.parts]


def literals(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_jobs_are_updated_in_the_listed_files_only() -> None:
    writers = {
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if "UPDATE jobs SET" in path.read_text()
    }
    assert writers <= JOB_UPDATES


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_event_name_is_a_bare_literal(path: Path) -> None:
    if path.name != "events.py":
        other_words = OTHER_WORDS.get(str(path.relative_to(PACKAGE)), set())
        assert not literals(path) & EVENTS - other_words


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_hold_scope_is_taken_apart_as_text(path: Path) -> None:
    if path.name != "holds.py":
        named = {f"{kind.value}:" for kind in (HoldKind.FAMILY, HoldKind.BUDGET)}
        other_words = OTHER_WORDS.get(str(path.relative_to(PACKAGE)), set())
        assert not literals(path) & {*named, "unreachable", "park"} - other_words
