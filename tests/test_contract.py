"""Walks docs/CONTRACT.md: what it names is there, or on the list of what is still open."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from claude_relay.config import OPTIONS
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.intake.body import FIELDS
from claude_relay.core.intake.options import OPTIONS as OPTIONS_KNOWN
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.policy import Policy
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion, a_failure, a_submission

DOCS = Path(__file__).parent.parent / "docs"
CONTRACT = (DOCS / "CONTRACT.md").read_text(encoding="utf-8")

#: What later versions bring. An entry here that is there after all fails, too.
OPEN_ROUTES: set[tuple[str, str]] = set()
OPEN_VERBS: set[str] = set()


def section(number: int) -> str:
    return re.split(r"^## \d\. ", CONTRACT, flags=re.M)[number]


def routes(number: int = 1) -> set[tuple[str, str]]:
    """The table's first column; `GET`/`POST /x`, `/pause` names three, `GET /ack/{token}` or `POST` two."""
    found = set()
    for row in re.findall(r"^\| (`(?:GET|POST|PUT|DELETE).*?) \|", section(number), flags=re.M):
        methods: list[str] = []
        path = ""
        for piece in re.findall(r"`([^`]+)`", row):
            method, _, rest = piece.partition(" ")
            if method.startswith("/"):  # a suffix of the path before it, always a POST
                found.add(("POST", path + method))
                continue
            methods.append(method)
            path = rest.partition("?")[0] or path
            found |= {(each, path) for each in methods if path}
            if rest:
                methods = []
        found |= {(each, path) for each in methods}

    return found


def verbs(table: str = section(6)) -> set[str]:
    """The verbs of §6's table."""
    names = set()
    for row in re.findall(r"^\| (`.*?) \|", table, flags=re.M):
        for piece in re.findall(r"`([^`]+)`", row):
            names.add(piece.split()[0].rstrip(","))

    return {name for name in names if name[0].isalpha()}


def settings(number: int = 7) -> set[str]:
    return set(re.findall(r"`((?:RELAY_|ANTHROPIC_|API_SECRET_|ALLOWED_|LOG_)[A-Z_]+|PORT|NODE_ENV)`", section(number)))


def fields(table: str = section(1).split("### Submit")[1]) -> set[str]:
    """The first column of the submit table."""
    return {name for row in re.findall(r"^\| (`.*?) \|", table, flags=re.M) for name in re.findall(r"`([\w.]+)`", row)}


def test_the_contract_is_read() -> None:
    """The walk itself finds what a person finds."""
    assert {("POST", "/api/claude"), ("POST", "/api/groups/{group}/pause"), ("GET", "/api/groups/{group}")} <= routes()
    assert {("GET", "/ack/{token}"), ("POST", "/ack/{token}")} <= routes()
    assert {"serve", "submit", "resume", "wait", "completion"} <= verbs()
    assert {"RELAY_STORE", "ANTHROPIC_BASE_URL", "PORT"} <= settings()
    assert {"prompt", "options.raw", "retain", "delay", "runAt"} <= fields()


@pytest.mark.parametrize("method, path", sorted(routes()))
def test_every_route_is_there_or_open(method: str, path: str) -> None:
    from claude_relay.api.app import ROUTES

    there = {(verb, template) for template, some in ROUTES.items() for verb in some}

    assert ((method, path) in there) != ((method, path) in OPEN_ROUTES)


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_is_there_or_open(verb: str) -> None:
    from claude_relay.cli.main import VERBS

    assert (verb in VERBS) != (verb in OPEN_VERBS)


@pytest.mark.parametrize("name", sorted(settings()))
def test_every_setting_is_an_option(name: str) -> None:
    assert name in {option.name for option in OPTIONS} | {"NODE_ENV"}


@pytest.mark.parametrize("name", sorted(fields()))
def test_every_field_of_the_contract_is_read(name: str) -> None:
    assert name in {*FIELDS, *(f"options.{option}" for option in OPTIONS_KNOWN)}


ADDED = section(8)


def test_every_other_route_is_an_addition() -> None:
    """What a caller may rely on stands in the contract, be it in its tables or among the additions."""
    from claude_relay.api.app import ROUTES

    there = {(verb, template) for template, some in ROUTES.items() for verb in some}

    assert routes(8) == there - routes()


def test_every_other_verb_is_an_addition() -> None:
    from claude_relay.cli.main import VERBS

    assert verbs(ADDED.split("| verb | does |")[1]) == set(VERBS) - verbs()


def test_every_other_setting_is_an_addition_with_its_default() -> None:
    told = re.split(r"^Settings: ", ADDED, flags=re.M)[1]
    others = {option.name: option for option in OPTIONS if option.name not in settings()}

    assert set(re.findall(r"`((?:RELAY|OTEL)_\w+)`", told)) == set(others)
    for name, option in others.items():
        assert re.search(rf"`{name}` \({re.escape(str(option.default or 'none'))}[;)]", told), name


def test_every_other_field_of_a_submit_is_an_addition() -> None:
    taken = {*FIELDS, *(f"options.{option}" for option in OPTIONS_KNOWN)} - {"options"}
    table = ADDED.split("| field | type and limits |")[1].split("\n\n")[0]

    assert fields(table) == taken - fields()


def test_every_field_that_is_answered_stands_in_the_contract(tmp_path: Path) -> None:
    """Callbacks, status and record of a job that has been through it all: each name is there, in §1 to §4 or in §8."""
    store = SqliteStore(tmp_path / "relay.db")
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0))
    soon = dict(mode="auto", need_by=time.time() + 60)  # too soon for a batch
    relay.submit_many([a_submission(name, webhook_url="https://hook.example/x", **soon) for name in ("r-1", "r-2")])
    first, second = relay.execution.claim("w", limit=2)
    relay.execution.complete(first, a_completion(content=[{"type": "tool_use"}]))
    relay.execution.fail(second, a_failure(ErrorType.REFUSED, Remedy.FAIL))
    for one in relay.deliveries.claim("w", limit=2):
        relay.deliveries.record_attempt(one, Reply(status=503))
    record = relay.queries.job_details(JobRef(request_id="r-1"))
    callbacks = [json.loads(relay.queries.result(JobRef(request_id=name)) or b"") for name in ("r-1", "r-2")]
    store.close()

    assert record["calls"] and record["deliveries"]
    assert "savedUsd" in callbacks[0] and "content" in callbacks[0] and callbacks[1]["errorType"] == "refused"
    answered = {name for body in (*callbacks, record, *record["calls"], *record["deliveries"]) for name in body}
    named = set(re.findall(r"[`\"](\w+)[`\"]", CONTRACT))
    assert answered - named == {"request"}  # which is the body of the submit


def test_the_reference_names_the_additions_too() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    named = {path for _, path in routes(8)} | {"savedUsd", "firstByteAt", "batch", "alerts"}

    assert {name for name in named if name not in pages} == set()
    assert {name for name in set(re.findall(r"`(RELAY_\w+)`", ADDED)) if f"`{name}`" not in pages} == set()


def test_every_error_type_is_known() -> None:
    told = re.search(r"`errorType` is one of (.*?)\.\n", section(2), flags=re.S)

    assert told is not None
    assert set(re.findall(r"`(\w+)`", told.group(1))) == {kind.value for kind in ErrorType}


@pytest.mark.parametrize("code", [int(code) for code in re.findall(r"(?:: |· )(\d+) ", section(6)[-900:])])
def test_every_exit_code_is_in_the_reference(code: int) -> None:
    page = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")

    assert re.search(rf"\|\s*`?{code}`?\s*\|", page)
