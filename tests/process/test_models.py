"""New, retired and busy models, through real processes: no scenario breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, head, refusal, started, stopped
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process


def test_an_old_scenario_gets_its_answer_and_its_warnings(tmp_path: Path) -> None:
    """A retired model and a temperature: the default is called without either, with warnings in 202 and callback."""
    old = {"model": "claude-3-5-sonnet-20241022", "temperature": 1, "maxTokens": 100}
    with FakeClaude() as upstream, Receiver() as hook, Rig(tmp_path, upstream=upstream.url).start() as rig:
        accepted = rig.submit({"prompt": "What is 2+2?", "webhookUrl": hook.url("/a"), "options": old})
        [delivered] = hook.wait_for(1)

        assert accepted.status_code == 202
        assert [seen.body["model"] for seen in upstream.books] == ["claude-sonnet-5-5"]
        assert "temperature" not in upstream.books[0].body
        assert (delivered.json["status"], delivered.json["model"]) == ("completed", "claude-sonnet-5-5")
        assert delivered.json["warnings"] == accepted.json()["warnings"]
        warnings = " ".join(delivered.json["warnings"])
        assert "claude-3-5-sonnet-20241022" in warnings and "claude-sonnet-5-5 is used instead" in warnings
        assert "temperature was ignored" in warnings


def test_the_api_applies_the_model_list_that_the_worker_fetched(tmp_path: Path) -> None:
    """Retired since yesterday, retiring soon, over its output limit: no table of the relay has any of it."""
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url) as rig:
        rig.start_worker()
        eventually(lambda: "models listed" in rig.worker.output())
        rig.start_api()
        bodies = {
            "retired": {"model": "claude-opus-4-8"},
            "ending": {"model": "claude-sonnet-4-5", "maxTokens": 70_000},
            "new": {"model": "claude-opus-9"},
            "smart": {"model": "smart"},
        }
        warned = {
            name: rig.submit({"prompt": "x", "requestId": name, "options": options}).json()["warnings"]
            for name, options in bodies.items()
        }
        models = {name: rig.finished(name)["model"] for name in bodies}

        assert models == {
            "retired": "claude-sonnet-5-5",
            "ending": "claude-sonnet-4-5",
            "new": "claude-opus-9",
            "smart": "claude-opus-5-5",
        }
        assert "was retired on 2026-10-01" in warned["retired"][0]
        assert "will be retired on" in warned["ending"][0] and "lowered to 64000" in warned["ending"][1]
        assert "not on Anthropic's list" in warned["new"][0]
        assert warned["smart"] == []


def test_another_model_answers_what_the_first_declines_or_is_too_busy_for(tmp_path: Path) -> None:
    """Set by a job or by a setting; callback and ledger name it, and the first model is not called any more."""
    settings = {"RELAY_FALLBACK_MODELS": "smart", "RELAY_FALLBACK_AFTER": "2s"}
    with FakeClaude() as upstream, Receiver() as hook, Rig(tmp_path, upstream=upstream.url, **settings).start() as rig:
        upstream.when("awful", *refused_by("claude-sonnet-5-5"))
        upstream.when('"model":"claude-haiku-5-5"', *refusal("529 Overloaded", "overloaded_error"))
        own = {"model": "claude-opus-5-5", "fallbackModels": ["claude-opus-5"]}
        rig.submit({"prompt": "kind", "requestId": "kind", "options": own, "webhookUrl": hook.url("/a")})
        busy = {"model": "cheap", "fallbackModels": ["claude-fable-5-1"]}
        rig.submit({"prompt": "busy", "requestId": "busy", "options": busy, "webhookUrl": hook.url("/a")})
        rig.submit({"prompt": "awful", "requestId": "awful", "webhookUrl": hook.url("/a")})
        got = {item.json["requestId"]: item.json for item in hook.wait_for(3, timeout=60)}

        assert (got["kind"]["model"], got["kind"]["warnings"]) == ("claude-opus-5-5", [])
        assert (got["busy"]["status"], got["busy"]["model"]) == ("completed", "claude-fable-5-1")
        assert got["busy"]["warnings"] == [
            "claude-haiku-5-5 was overloaded for long; claude-fable-5-1 was asked instead"
        ]
        # Every model declines that one: each is called once, and then it has failed.
        assert (got["awful"]["status"], got["awful"]["errorType"]) == ("failed", "refused")
        assert got["awful"]["warnings"] == ["claude-sonnet-5-5 declined to answer; claude-opus-5-5 was asked instead"]
        asked = [seen.body["model"] for seen in upstream.books if "awful" in str(seen.body)]
        assert asked == ["claude-sonnet-5-5", "claude-opus-5-5"]
        ledger = rig.get("/api/jobs/busy")["calls"]
        assert {call["outcome"] for call in ledger[:-1]} == {"overloaded"} and ledger[-1]["outcome"] == "completed"
        assert "was overloaded for long" in rig.command("why", "busy").stdout


def refused_by(model: str) -> tuple[Any, ...]:
    """Claude's own refusal: an empty 200."""
    return (head(), started(model), *stopped("refusal", {"type": "refusal", "category": "cyber"}))
