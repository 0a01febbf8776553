"""
Tests that fail once their mechanism is taken out: each one is run as it is, and again without the mechanism.

`python -m tests.faults.mechanisms` prints a table, and exits with 1 where a test passes without its mechanism.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser

from claude_relay.core.text.strict_json import loads
from claude_relay.errors import InvalidRequest
from tests.support import live_api
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
_NEVER = re.compile("(?!)")


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """A row of the cases, its test, and what takes the place of its mechanism."""

    row: str
    test: str
    without: Mapping[str, Any]


def _parse_with_traceback(line: bytes, number: int, indent: int, budget: Any) -> object:
    try:
        return loads(line, line=number, indent=indent, budget=budget)
    except InvalidRequest as exc:
        return exc


_BRIEF = {"tests.support.live_api.connect.__defaults__": ("127.0.0.1", 1)}

#: All rows about 202s and scopes, then two of each section.
MECHANISMS = (
    Mechanism(
        row="A1",
        test="tests/contract/test_sqlite.py::test_nothing_is_accepted_once_the_file_is_removed",
        without={"claude_relay.storage.sqlite.open_file.OpenFile._compare": lambda self: None},
    ),
    Mechanism(
        row="A1",
        test="tests/contract/test_sqlite_space.py"
        "::test_an_earlier_copy_of_the_same_file_over_it_is_noticed[before it shrank]",
        without={"claude_relay.storage.sqlite.open_file._SHRUNK": slice(0, 0)},
    ),
    Mechanism(
        row="A1",
        test="tests/contract/test_sqlite_space.py"
        "::test_an_earlier_copy_of_the_same_file_over_it_is_noticed[after it shrank]",
        without={"claude_relay.storage.sqlite.open_file._least_size": lambda header, size: 0},
    ),
    Mechanism(
        row="S2",
        test="tests/api/test_scopes.py::test_in_a_bulk_request_continue_from_is_refused_and_the_others_are_accepted",
        without={"claude_relay.api.auth.Caller.may": lambda self, scope: True},
    ),
    Mechanism(
        row="S3",
        test="tests/api/test_framing.py::test_a_request_that_cannot_be_framed_for_certain_is_refused[a folded header]",
        without={"claude_relay.api.framing.RequestParser.parse_header": HTTPRequestParser.parse_header, **_BRIEF},
    ),
    Mechanism(
        row="S1",
        test="tests/api/test_bulk_limits.py::test_errors_of_lines_keep_no_traceback",
        without={"claude_relay.core.text.ndjson._parse": _parse_with_traceback},
    ),
    Mechanism(
        row="S4",
        test="tests/adapters/claude/test_schema_check.py::test_the_items_of_one_request_share_a_limit_of_time",
        without={"claude_relay.claude.schema_gate.SchemaGate.for_one_request": lambda self: self.problem},
    ),
    Mechanism(
        row="S5",
        test="tests/api/test_connections.py::test_the_oldest_incomplete_request_of_an_address_is_closed",
        without={
            "claude_relay.api.connections.IncompleteRequests._evict_oldest": lambda self, group: None,
            "tests.api.test_connections.eventually": lambda condition: eventually(condition, within=1),
        },
    ),
    Mechanism(
        row="S6",
        test="tests/api/test_admission.py::test_a_head_alone_is_refused_at_once",
        without={"claude_relay.api.channel.Channel.received": HTTPChannel.received, **_BRIEF},
    ),
    Mechanism(
        row="F2",
        test="tests/service/test_faults_of_the_relay.py"
        "::test_a_fault_while_a_failure_is_stored_leaves_that_failure[ValueError]",
        without={"claude_relay.worker.faults.substitutes": lambda end: iter((end,))},
    ),
    Mechanism(
        row="F1",
        test="tests/unit/test_classify.py::test_a_limit_of_the_account_that_comes_as_a_bad_request_parks_the_queue",
        without={"claude_relay.claude.classify._ACCOUNT_TEXT": ()},
    ),
    Mechanism(
        row="F8",
        test="tests/adapters/claude/test_gateways.py::test_an_answer_in_plain_json_is_a_success",
        without={"claude_relay.claude.accumulator.flat_usage": dict},
    ),
    Mechanism(
        row="F23",
        test="tests/adapters/claude/test_gateways.py::test_the_halves_of_a_character_are_joined",
        without={"claude_relay.claude.accumulator._whole_characters": lambda text: text},
    ),
    Mechanism(
        row="F24",
        test="tests/unit/test_intake_files.py::test_base64url_is_taken_and_stored_as_base64",
        without={"claude_relay.core.intake.files._standard_base64": lambda text: text},
    ),
    Mechanism(
        row="F4",
        test="tests/unit/test_intake_output_schema.py::test_multiples_are_decimal",
        without={"claude_relay.claude.safe_schema._bounded": lambda kind: kind},
    ),
    Mechanism(
        row="F12",
        test="tests/unit/test_setting_values.py::test_the_service_variables_of_kubernetes_are_no_settings",
        without={"claude_relay.config.loader._SERVICE": _NEVER},
    ),
    Mechanism(
        row="F13",
        test="tests/unit/test_setting_values.py::test_a_value_in_quotes_is_refused",
        without={"claude_relay.config.loader._quotes": lambda text: None},
    ),
    Mechanism(
        row="F14",
        test="tests/api/test_submit.py::test_json_under_the_content_type_of_a_form_is_told_the_header",
        without={"claude_relay.api.request_bodies._is_json": lambda data: False},
    ),
    Mechanism(
        row="F15",
        test="tests/api/test_framing.py::test_any_header_that_is_repeated_with_the_same_value_counts_once",
        without={"claude_relay.api.framing._without_repetitions": lambda head: head},
    ),
    Mechanism(
        row="N5",
        test="tests/unit/test_intake_form.py::test_names_describe_the_body",
        without={"claude_relay.core.intake.form._BRACKETS": _NEVER},
    ),
    Mechanism(
        row="N15",
        test="tests/unit/test_intake_body.py::test_the_name_of_another_api_is_refused_with_the_right_one",
        without={"claude_relay.core.intake.body._MEANT": {}},
    ),
    Mechanism(
        row="A3",
        test="tests/unit/test_outage.py::test_an_outage_is_one_line_and_its_end_another",
        without={"claude_relay.worker.outage._SILENCE": -1.0},
    ),
    Mechanism(
        row="A16",
        test="tests/api/test_app.py::test_both_admin_keys_are_valid_during_a_change",
        without={"claude_relay.config.settings.split_admin_keys": lambda text: (text,)},
    ),
    Mechanism(
        row="S9",
        test="tests/contract/test_sqlite.py::test_a_backup_of_any_name_can_be_restored",
        without={"claude_relay.storage.sqlite.restore.immutable_uri": lambda path: f"file:{path}?immutable=1"},
    ),
    Mechanism(
        row="S17",
        test="tests/api/test_ack.py::test_a_link_preview_acknowledges_nothing",
        without={"claude_relay.api.ack._PURPOSES": ()},
    ),
    Mechanism(
        row="C9",
        test="tests/cli/doctor/test_settings.py::test_each_fault_has_the_line_that_fixes_it",
        without={"claude_relay.cli.doctor.settings.MIN_SECRET_LENGTH": 1},
    ),
    Mechanism(
        row="C11",
        test="tests/unit/test_trusted_proxy.py::test_a_peer_is_trusted_by_its_address_or_network",
        without={
            "claude_relay.api.trusted_proxy.TrustedPeers.__contains__": lambda self, peer: (
                str(peer) in {str(network.network_address) for network in self._networks}
            )
        },
    ),
)


class _TwiceEach:
    """A pytest plugin that runs each test as it is, and then without its mechanism."""

    def __init__(self) -> None:
        self.with_it: dict[str, list[bool]] = {}
        self.without_it: dict[str, list[bool]] = {}

    def pytest_runtest_protocol(self, item: pytest.Item) -> bool:
        for mechanism in MECHANISMS:
            if False in self.without_it.get(mechanism.row, []):
                continue  # one failure proves it
            if item.nodeid in (mechanism.test, f"{mechanism.test}[{item.nodeid.partition('[')[2]}"):
                self.with_it.setdefault(mechanism.row, []).append(_passes(item))
                with pytest.MonkeyPatch.context() as patch:
                    try:
                        for target, other in mechanism.without.items():
                            _set(patch, target, other)
                    except AttributeError as exc:
                        print(f"{mechanism.row}: the mechanism has moved: {exc}")
                        continue
                    self.without_it.setdefault(mechanism.row, []).append(_passes(item))

        return True


def _set(patch: pytest.MonkeyPatch, target: str, other: Any) -> None:
    if target == "tests.support.live_api.connect.__defaults__":
        patch.setattr(live_api.connect, "__defaults__", other)
    else:
        patch.setattr(target, other)


def _passes(item: Any) -> bool:
    item._initrequest()
    reports = runtestprotocol(item, log=False, nextitem=None)
    if any(report.failed for report in reports if report.when == "setup"):
        raise AssertionError(f"{item.nodeid} cannot be set up: {reports[0].longreprtext}")

    return all(report.passed for report in reports if report.when == "call")


def main() -> int:
    """Print a row for each mechanism."""
    twice = _TwiceEach()
    tests = [mechanism.test for mechanism in MECHANISMS]
    pytest.main([*tests, "-q", "--no-header", "-p", "no:cacheprovider", f"--rootdir={ROOT}"], plugins=[twice])
    wrong = 0
    for mechanism in MECHANISMS:
        with_it, without_it = twice.with_it.get(mechanism.row, []), twice.without_it.get(mechanism.row, [])
        proven = bool(with_it) and all(with_it) and not all(without_it)
        wrong += not proven
        ran = f"{with_it.count(True)} of {len(with_it)} pass, {without_it.count(False)} fail without it"
        verdict = "proven" if proven else "NOT PROVEN"
        print(f"{mechanism.row:4} {verdict:11} {ran}: {mechanism.test.rpartition('::')[2]}")

    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
