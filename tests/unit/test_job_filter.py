"""The filters that select jobs: which of them an index serves, and the defaults of each verb."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.jobs.failure import ErrorType, Failure, Remedy
from claude_relay.core.jobs.job import State
from claude_relay.core.jobs.job_filter import JobFilter, with_defaults
from claude_relay.core.jobs.park import KEY_REFUSED, ON_HOLD, SPEND_LIMIT, cure, cure_in_words, park_reason


@pytest.mark.parametrize(
    ("fields", "selective"),
    [
        ({}, False),
        ({"owner": "make"}, False),
        ({"group": "g"}, False),
        ({"states": (State.FAILED,)}, False),
        ({"since": 1.0, "until": 2.0}, False),
        ({"group": "g", "states": (State.FAILED,)}, True),
        ({"group": "g", "owner": "make"}, True),
        ({"group": "g", "key": "make"}, True),
        ({"key": "make", "states": (State.FAILED,)}, False),
        ({"model": "m"}, True),
        ({"host": "https://h"}, True),
        ({"errors": (ErrorType.TIMEOUT,)}, True),
        ({"dead": True}, False),
        ({"model": "m", "dead": True}, True),
        ({"group": "g", "dead": True}, True),
        ({"states": (State.FAILED,), "dead": True}, True),
        ({"key": "make", "dead": True}, True),
        ({"model": "m", "unacked": True}, False),
    ],
)
def test_a_filter_is_selective_where_no_index_has_its_jobs_side_by_side(
    fields: dict[str, Any], selective: bool
) -> None:
    """Such a list reads other jobs too, and is cut into steps."""
    assert JobFilter(**fields).selective is selective


@pytest.mark.parametrize(
    ("fields", "narrow"),
    [
        *((fields, False) for fields in ({}, {"owner": "a"}, {"key": "a"}, {"since": 1.0}, {"dead": True})),
        *((fields, True) for fields in (
            {"states": (State.FAILED,)}, {"errors": (ErrorType.TIMEOUT,)}, {"group": "g"}, {"model": "m"},
            {"host": "h"},
        )),
    ],
)  # fmt: skip
def test_a_filter_is_narrow_where_it_asks_for_more_than_an_owner_and_a_time(
    fields: dict[str, Any], narrow: bool
) -> None:
    assert JobFilter(**fields).narrow is narrow


@pytest.mark.parametrize(
    ("fields", "reads"),
    [
        *((fields, False) for fields in (
            {}, {"owner": "a"}, {"group": "g"}, {"key": "a"}, {"model": "m"}, {"since": 1.0},
        )),
        *((fields, True) for fields in (
            {"states": (State.FAILED,)}, {"errors": (ErrorType.TIMEOUT,)}, {"host": "h"}, {"text": "x"}, {"dead": True},
            {"unacked": True},
        )),
    ],
)  # fmt: skip
def test_costs_are_summed_from_jobs_where_the_ledgers_sums_do_not_know_the_filter(
    fields: dict[str, Any], reads: bool
) -> None:
    assert JobFilter(**fields).reads_jobs is reads


@pytest.mark.parametrize(
    ("verb", "filters", "used"),
    [
        ("retry", {}, {"status": ("failed",)}),
        ("redeliver", {"group": "g"}, {"group": "g", "dead": True}),
        ("cancel", {"model": "m"}, {"model": "m", "status": ("pending", "processing")}),
        *((verb, {"status": ("completed",)}, {"status": ("completed",)}) for verb in ("retry", "redeliver", "cancel")),
        ("retry", {"unacked": True}, {"unacked": True}),
        ("cancel", {"dead": True}, {"dead": True}),
        ("retry", {"dead": False}, {"dead": False, "status": ("failed",)}),
    ],
)
def test_a_verb_adds_its_default_where_no_status_is_named(
    verb: str, filters: dict[str, Any], used: dict[str, Any]
) -> None:
    assert with_defaults(verb, filters) == used


@pytest.mark.parametrize(
    ("kind", "word", "reason"),
    [
        (ErrorType.BUDGET, "", SPEND_LIMIT),
        (ErrorType.PERMISSION, "", KEY_REFUSED),
        (ErrorType.PERMISSION, ON_HOLD, ON_HOLD),
        (ErrorType.BUDGET, ON_HOLD, ON_HOLD),
    ],
)
def test_each_park_names_its_own_cure(kind: ErrorType, word: str, reason: str) -> None:
    """An unknown reason, of another release, is taken for a refused key."""
    assert park_reason(Failure(type=kind, message="m", remedy=Remedy.PARK, reason=word)) == reason
    assert cure_in_words(reason).lower().startswith(cure(reason).lower())
    assert len({cure(each) for each in (SPEND_LIMIT, KEY_REFUSED, ON_HOLD)}) == 3
    assert cure("of another release") == cure(KEY_REFUSED)
