"""Marks of filters: the jobs that a filter selects have them, and those that differ in a value do not."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from claude_relay.core.filter_marks import Facts, asked_filters, hosts, marks_of
from claude_relay.core.jobs.failure import ErrorType
from claude_relay.core.jobs.job import JOB_STATES, UNFINISHED, State
from claude_relay.core.jobs.job_filter import JobFilter

_JOB = Facts(
    owner="ada",
    group="night",
    model="claude-opus-4-8",
    state=State.FAILED,
    error="timeout",
    destination="https://hook.eu1.make.com:8443",
    dead=True,
)
#: A filter for each value of that job, and the job with another value there.
_FILTERS: dict[str, tuple[dict[str, Any], Facts]] = {
    "owner": ({"owner": "ada"}, replace(_JOB, owner="bob")),
    "group": ({"group": "night"}, replace(_JOB, group="day")),
    "model": ({"model": "claude-opus-4-8"}, replace(_JOB, model="claude-haiku-4-5")),
    "state": ({"states": (State.FAILED,)}, replace(_JOB, state=State.COMPLETED)),
    "error": ({"errors": (ErrorType.TIMEOUT,)}, replace(_JOB, error="upstream")),
    "host": ({"host": "Hook.eu1.make.com"}, replace(_JOB, destination="https://hook.eu2.make.com:8443")),
    "dead": ({"dead": True}, replace(_JOB, dead=False)),
}


def may_select(which: JobFilter, job: Facts) -> bool:
    """Whether the index names the job to the filter."""
    return any(set(marks) <= set(marks_of(job)) for marks in asked_filters(which))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_index_names_the_jobs_that_match_each_of_the_filters(count: int) -> None:
    """Of two filters and more, a job that differs in one value is not read."""
    for names in combinations(_FILTERS, count):
        which = JobFilter(**{key: value for name in names for key, value in _FILTERS[name][0].items()})
        assert may_select(which, _JOB), names
        assert not any(may_select(which, _FILTERS[name][1]) for name in names), names


def test_one_filter_alone_has_a_mark_of_its_own_and_the_owner_has_none() -> None:
    """The owner's is that of the search; without a filter every job may be the one."""
    for name, (filters, other) in _FILTERS.items():
        assert may_select(JobFilter(**filters), _JOB)
        assert may_select(JobFilter(**filters), other) is (name == "owner")
    assert list(asked_filters(JobFilter())) == [[]]


def test_the_key_that_is_asked_for_counts_where_every_owner_may_be_seen() -> None:
    """What the caller may see comes before what it asks for."""
    assert may_select(JobFilter(key="ada", dead=True), _JOB)
    assert not may_select(JobFilter(key="bob", dead=True), _JOB)
    assert may_select(JobFilter(owner="ada", key="bob", dead=True), _JOB)


@pytest.mark.parametrize("state", JOB_STATES)
def test_a_job_of_any_state_is_named_to_the_filters_of_that_state(state: State) -> None:
    """Also where a filter asks for several states, which may have no mark together."""
    job = replace(_JOB, state=state)
    sets = [(state,), (state, State.FAILED), (state, State.COMPLETED, State.QUEUED), UNFINISHED, JOB_STATES]
    for states in sets:
        for more in ({}, {"group": "night"}):
            assert may_select(JobFilter(states=states, **more), job) or state not in states, states


def test_filters_by_states_and_errors_name_no_other_jobs() -> None:
    """An error is that of a failed job; of more alternatives than a query may have the errors are left out."""
    assert not may_select(JobFilter(errors=(ErrorType.TIMEOUT,)), replace(_JOB, state=State.QUEUED))
    assert not may_select(JobFilter(states=(State.COMPLETED, State.FAILED)), replace(_JOB, state=State.QUEUED))
    several = tuple(ErrorType)[:8]
    assert len(asked_filters(JobFilter(errors=several))) == 8
    assert len(asked_filters(JobFilter(errors=tuple(ErrorType)[:9]))) == 1
    assert may_select(JobFilter(errors=tuple(ErrorType)), _JOB)


@pytest.mark.parametrize(
    ("destination", "names"),
    [
        ("https://Hook.example", {"https://hook.example", "hook.example"}),
        ("http://a.example:8080", {"http://a.example:8080", "a.example:8080", "a.example"}),
        ("http://[::1]", {"http://[::1]", "[::1]"}),
        ("http://[::1]:81", {"http://[::1]:81", "[::1]:81", "[::1]"}),
        ("http://2130706433", {"http://2130706433", "2130706433"}),
    ],
)
def test_a_host_is_found_by_each_of_its_names(destination: str, names: set[str]) -> None:
    """With its scheme, with its port, and alone; the digits of an address are no port."""
    assert set(hosts(destination)) == names
