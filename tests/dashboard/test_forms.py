"""Forms that are refused: what was typed stays, and each problem stands beside its field."""

from __future__ import annotations

import re
from html import unescape

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.services import Relay
from tests.support.builders import a_completion, a_submission

from .conftest import Person

#: Typed into a field: it must come back as it was, and never as markup.
HOSTILE = 'a"b<b>&\u202e'


def fields(page: str) -> dict[str, str]:
    """The values of the fields of a page; of several of one name those that are not empty."""
    values: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", page):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if attributes.get("type") not in ("hidden", "checkbox", "search") and attributes.get("value"):
            values[attributes["name"]] = unescape(attributes["value"])
    for name, text in re.findall(r'<textarea[^>]* name="(\w+)"[^>]*>\n(.*?)</textarea>', page, re.DOTALL):
        values[name] = unescape(text)
    return values


def beside(page: str, field: str) -> str:
    """The problem that a field refers to, by the id of its text."""
    tag = re.search(rf'<(?:input|textarea)[^>]* name="{field}"[^>]* aria-describedby="([^"]*)"', page)
    assert tag is not None, f"{field} refers to no problem"
    text = re.search(rf'<span class="wrong" id="{tag[1]}">(.*?)</span>', page)
    assert text is not None

    return unescape(text[1])


@pytest.fixture
def job(relay: Relay) -> str:
    """A job whose callback was delivered."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    [sent] = relay.deliveries.claim("w", limit=1)
    relay.deliveries.record_attempt(sent, Reply(status=200))
    return "/dashboard/jobs/r-1"


FORMS = {
    "limits of a group": (
        "/dashboard/groups?edit=mail",
        "limits",
        {"concurrency": HOSTILE, "rate": "7"},
        {},
        "concurrency",
    ),
    "rate of a group": ("/dashboard/groups?edit=mail", "limits", {"concurrency": "3", "rate": HOSTILE}, {}, "rate"),
    "sample": ("/dashboard/destinations", "sample", {"url": f"ftp://{HOSTILE}"}, {}, "url"),
    "replay": ("/dashboard/destinations", "replay", {"host": "a.example", "since": HOSTILE}, {}, "since"),
    "replay without a host": ("/dashboard/destinations", "replay", {"since": "2h"}, {"host": ""}, "host"),
    "name of a key": (
        "/dashboard/keys",
        "add",
        {"name": HOSTILE, "rate": "1/1m", "budget": "2"},
        {"scope": "read"},
        "name",
    ),
    "rate of a key": (
        "/dashboard/keys",
        "add",
        {"name": "make", "rate": HOSTILE, "budget": "2"},
        {"scope": "read"},
        "rate",
    ),
    "budget": (
        "/dashboard/keys",
        "add",
        {"name": "make", "rate": "1/1m", "budget": HOSTILE},
        {"scope": "read"},
        "budget",
    ),
    "name of a template": (
        "/dashboard/templates",
        "save",
        {"name": HOSTILE, "body": '{"prompt": "Read {{t}}"}'},
        {},
        "name",
    ),
    "body of a template": (
        "/dashboard/templates",
        "save",
        {"name": "n", "body": HOSTILE, "description": "d"},
        {},
        "body",
    ),
    "model": ("/dashboard/try", "submit", {"prompt": "Hei", "maxTokens": HOSTILE, "system": "s"}, {}, "maxTokens"),
    "group": ("/dashboard/try", "submit", {"prompt": "Hei", "group": HOSTILE, "more": '{"mode": "live"}'}, {}, "group"),
    "webhook": ("/dashboard/try", "estimate", {"prompt": "Hei", "webhookUrl": f"ftp://{HOSTILE}"}, {}, "webhookUrl"),
    "JSON": ("/dashboard/try", "submit", {"prompt": "Hei", "more": HOSTILE, "model": "smart"}, {}, "more"),
    "table": ("/dashboard/collections", "", {"prompt": "Read {{t}}", "maxCostUsd": HOSTILE}, {"mode": "batch"}, "file"),
    "other address": ("/dashboard/jobs/r-1", "redirect", {"url": f"ftp://{HOSTILE}"}, {}, "url"),
}


@pytest.mark.parametrize(("path", "act", "typed", "more", "wrong"), FORMS.values(), ids=FORMS)
def test_a_form_that_is_refused_keeps_what_was_typed_and_shows_the_problem_beside_its_field(
    relay: Relay,
    admin: Person,
    job: str,
    path: str,
    act: str,
    typed: dict[str, str],
    more: dict[str, str],
    wrong: str,
) -> None:
    relay.set_group("mail", concurrency=1, rate=None)
    page = admin.get(path)
    if act == "limits":
        more = {**more, "group": "mail"}
    page.post(path, act=act, **typed, **more)

    assert page.status == 400
    assert typed.items() <= fields(page.page).items()
    assert beside(page.page, wrong) and "<b>&" not in page.page.replace("<b>Nothing", "")
    assert 'class="notice bad"' in page.page
    for name in more.keys() - {"group", "host"}:
        assert re.search(rf'value="{more[name]}"[^>]*(?:checked|selected)', page.page), name
    assert relay.queries.group("mail")["concurrency"] == 1 and relay.keys.all() == []


def test_the_boxes_of_a_refused_form_stay_as_they_were(relay: Relay, admin: Person) -> None:
    page = admin.get("/dashboard/keys").post("/dashboard/keys", act="add", name="make", scope="metrics", rate="x")
    boxes = dict(re.findall(r'name="scope" value="(\w+)"( checked)?', page.page))

    assert [name for name, ticked in boxes.items() if ticked] == ["metrics"]
    page = admin.get("/dashboard/templates").post("/dashboard/templates", act="save", name="n", body="{")
    assert 'name="shared" value="1">' in page.page


def test_a_name_that_is_taken_stays_in_the_form(relay: Relay, admin: Person) -> None:
    """A conflict concerns the form as a whole: it says so above."""
    for _ in range(2):
        page = admin.get("/dashboard/keys").post("/dashboard/keys", act="add", name="make", scope="read", rate="5/1m")

    assert page.status == 409 and fields(page.page)["name"] == "make" and fields(page.page)["rate"] == "5/1m"
    assert 'class="notice bad"' in page.page and len(relay.keys.all()) == 1


@pytest.mark.parametrize("path", ["/dashboard/money?by=key&since=yesterday", "/dashboard/jobs?since=yesterday&q=Hei"])
def test_a_filter_that_is_refused_says_so_beside_its_field(admin: Person, path: str) -> None:
    page = admin.get(path)

    assert fields(page.page)["since"] == "yesterday" and "must be a time" in beside(page.page, "since")


def test_a_budget_is_typed_outside_of_the_part_that_is_refreshed(relay: Relay, admin: Person) -> None:
    admin.get("/dashboard/keys").post("/dashboard/keys", act="add", name="make", scope="read")
    page = admin.get("/dashboard/keys?edit=make")
    assert page.page.index('id="new-budget"') < page.page.index('<div id="live"')
    page.post("/dashboard/keys?edit=make", act="budget", name="make", budget="many")

    assert page.status == 400 and fields(page.page)["budget"] == "many" and "number" in beside(page.page, "budget")
