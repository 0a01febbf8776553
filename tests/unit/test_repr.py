"""No secret, prompt or answer is in the `repr` of anything: a traceback or a log line may show it."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import claude_relay
from claude_relay.claude.accumulator import _Block
from claude_relay.claude.request import Plan
from claude_relay.config import Settings
from claude_relay.config.loader import _Value
from claude_relay.config.secret_file import SettingLocation
from claude_relay.config.sources import Source
from claude_relay.core import lazy_dataclass
from claude_relay.core.collections.csv_input import Table
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import Completion, ErrorType, Failure, PartialResponse, Remedy, Repair
from claude_relay.core.jobs.job_filter import JobFilter
from claude_relay.core.jobs.submission import Exchange, StoredRequest, WebhookTarget
from claude_relay.core.keys import Scope, new_key
from claude_relay.core.templates import Filled, Template, Variable
from claude_relay.dashboard.forms import Form, FormFile
from claude_relay.dashboard.try_it import Draft
from claude_relay.services.event_feed import TextSoFar
from claude_relay.webhooks.http_client import HttpResult
from tests.support.builders import a_submission

#: The last word of the name of a field that holds a secret or what a user wrote.
PRIVATE = re.compile(
    r"(?:^|_)(?:answer|body|checks|content|data|digest|excerpt|header|key|location|messages|metadata|more|nonce|partial"
    r"|password|prompt|request|rows|say|schema|secret|system|text|token|url|values|variables|webhook)s?$"
)
#: Values of other types are no text, or are looked at as a type of their own.
TEXT = re.compile(r"\b(?:str|bytes|bytearray|memoryview|Any|object)\b")
#: Fields named like that whose values are public, and why.
PUBLIC = {
    "Admission.headers": "the rate limit of the caller, in the response",
    "Blank.url": "the relay's own address",
    "Draft.max_tokens": "a number",
    "JobFilter.key": "the name of a key",
    "JobQuery.key": "the name of a key",
    "Lease.token": "the number of a claim, of no use outside the store",
    "Need.text": "a sentence about the relay",
    "Output.url": "the relay's own address",
    "Policy.public_url": "the relay's own address",
    "Prefix.digest": "a digest of a prompt of the sandbox",
    "Price.tokens": "dollars per kind of token",
    "Runaway.key": "the name of a key or group",
    "SentMark.token": "the number of a claim, of no use outside the store",
    "_Run.url": "the relay's own address",
}
#: The groups of settings, of which only `Settings` is made; and the documentation of the API.
NOT_LOOKED_AT = ("claude_relay.config.table", "claude_relay.api.openapi.")
SECRET = "zq-private-zq"


def record_types() -> Iterator[type]:
    """Every dataclass and named tuple of the package, once."""
    seen = set()
    for module in pkgutil.walk_packages(claude_relay.__path__, "claude_relay."):
        if module.name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            ours = isinstance(kind, type) and kind.__module__.startswith("claude_relay.")
            if ours and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")) and kind not in seen:
                seen.add(kind)
                yield kind


def shown_fields(kind: Any) -> Iterator[tuple[str, str]]:
    """Name and type of each field that the `repr` of a type shows."""
    if not dataclasses.is_dataclass(kind):
        yield from ((name, str(kind.__annotations__.get(name, "Any"))) for name in kind._fields)
    elif kind.__dataclass_params__.repr or getattr(kind.__repr__, "__module__", "") == lazy_dataclass.__name__:  # type: ignore[attr-defined]
        yield from ((field.name, str(field.type)) for field in dataclasses.fields(kind) if field.repr)


def named_as_private(kind: type) -> Iterator[str]:
    """The fields in the `repr` of a type that are named like something private and may hold text."""
    for name, annotation in shown_fields(kind):
        if PRIVATE.search(name) and TEXT.search(annotation) and not annotation.startswith("Callable"):
            yield f"{kind.__name__}.{name}"


def test_no_field_named_like_a_secret_or_a_text_is_in_a_repr() -> None:
    """CASES M10: of every dataclass of the package; a new field that is public is listed above with the reason."""
    kinds = [kind for kind in record_types() if not kind.__module__.startswith(NOT_LOOKED_AT)]
    shown = {name for kind in kinds for name in named_as_private(kind)}

    assert len(kinds) > 150, "the package has more types than that: they are not found"
    assert shown - set(PUBLIC) == set()
    assert set(PUBLIC) - shown == set(), "no longer shown, or named otherwise"


def test_the_walk_finds_what_it_is_for() -> None:
    @dataclasses.dataclass
    class Open:
        api_key: str
        max_tokens: int
        note: str
        prompt: str = dataclasses.field(repr=False)

    assert list(named_as_private(Open)) == ["Open.api_key"]


def test_the_settings_show_no_value_that_is_secret() -> None:
    """CASES M10: only `Settings` is ever made, and its `repr` is its own."""
    settings = Settings(anthropic_api_key=SECRET, api_secret_key=SECRET, webhook_secret=(SECRET,), api_key=SECRET)

    assert SECRET not in repr(settings)
    assert next(kind for kind in Settings.__mro__ if "__repr__" in vars(kind)) is Settings


EXAMPLES: dict[str, Any] = {
    "completion": Completion(
        text=SECRET,
        model="m",
        stop_reason="end_turn",
        usage={},
        json={"a": SECRET},
        content=[{"a": SECRET}],
        blocks=[{"a": SECRET}],
        checks=({"left": SECRET},),
    ),
    "failure": Failure(
        type=ErrorType.CHECKS, message="m", remedy=Remedy.FAIL, partial=SECRET, checks=({"left": SECRET},)
    ),
    "partial": PartialResponse(text=SECRET),
    "repair": Repair(text=SECRET, problem="p", kinds=()),
    "block": _Block(start={"text": SECRET}, written=bytearray(SECRET.encode()), decoded=SECRET, citations=[SECRET]),
    "plan": Plan(body={"a": SECRET}, schema={"title": SECRET}),
    "submission": a_submission(
        "r-1", request={"prompt": SECRET}, webhook_url=f"https://x.example/{SECRET}", metadata={"a": SECRET}
    ),
    "stored request": StoredRequest(job_id="j", request={"prompt": SECRET}, metadata={"a": SECRET}),
    "exchange": Exchange(request={"prompt": SECRET}, answer=SECRET),
    "target": WebhookTarget(request_id="r", urls=[SECRET], headers={"a": SECRET}),
    "reply": Reply(status=302, excerpt=SECRET, location=SECRET),
    "http result": HttpResult(status=200, host="x.example", headers={"a": SECRET}, body=SECRET.encode()),
    "template": Template(owner="admin", name="n", version=1, body={"prompt": SECRET}),
    "variable": Variable(value=SECRET, text=SECRET, size=1),
    "filled": Filled(body={"prompt": SECRET}, missing=()),
    "table": Table(rows=[{"a": SECRET}]),
    "filter": JobFilter(text=SECRET),
    "form": Form(values={"prompt": [SECRET]}, files=[FormFile(name="a.pdf", media_type="", data=SECRET.encode())]),
    "draft": Draft(prompt=SECRET, system=SECRET, webhook_url=SECRET, more=SECRET),
    "text so far": TextSoFar(call=1, offset=0, text=SECRET),
    "setting": _Value(name="API_SECRET_KEY", text=SECRET, origin="here", problem=""),
    "source": Source(label="here", texts={"API_SECRET_KEY": SECRET}),
    "location of a secret": SettingLocation(path=Path("x"), text=SECRET),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_repr_of_what_holds_a_secret_does_not_show_it(name: str) -> None:
    """CASES M10: with a value in each private field."""
    assert SECRET not in repr(EXAMPLES[name])
    assert SECRET in repr([getattr(EXAMPLES[name], field.name) for field in dataclasses.fields(EXAMPLES[name])])


def test_the_repr_of_a_key_has_neither_its_text_nor_its_digest() -> None:
    key, text = new_key("make", frozenset(Scope), rate=None, daily_budget_usd=None, now=1.0, entropy=bytes(range(36)))

    assert text.rpartition("_")[2] not in repr(key) and repr(key.digest) not in repr(key)
