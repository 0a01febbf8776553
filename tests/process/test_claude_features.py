"""Claude features through real processes, checked against the requests that the upstream received."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, answer, refusal
from tests.support.pdfs import a_pdf
from tests.support.rig import Rig

pytestmark = pytest.mark.process


def test_a_conversation_of_three_turns_reaches_the_upstream_completely(tmp_path: Path, upstream: FakeClaude) -> None:
    """Over HTTP and on the command line; the system prompt of the first holds for all, and is marked for the cache."""
    for number in "123":
        upstream.then(*answer(f"Answer {number}."))
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        rig.submit({"prompt": "First?", "requestId": "r-1", "options": {"systemPrompt": "Be brief. " * 500}})
        rig.finished("r-1", within=60)
        early = rig.submit({"prompt": "Second?", "requestId": "r-2", "continueFrom": "r-1"})
        assert early.status_code == 202
        rig.finished("r-2", within=60)
        last = rig.command("submit", "--wait", "--continue", "r-2", "Third?")

        assert (last.returncode, last.stdout) == (0, "Answer 3.\n"), last.stderr
        sent = upstream.books[-1].body
        assert [(turn["role"], _text(turn)) for turn in sent["messages"]] == [
            ("user", "First?"),
            ("assistant", "Answer 1."),
            ("user", "Second?"),
            ("assistant", "Answer 2."),
            ("user", "Third?"),
        ]
        [system] = sent["system"]
        assert system["text"].startswith("Be brief.") and system["cache_control"] == {"type": "ephemeral"}
        assert sent["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral"}
        assert "cache_control" not in json.dumps(upstream.books[0].body)


def _text(turn: dict) -> str:
    content = turn["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def test_an_answer_that_does_not_fit_is_repaired_once_even_by_another_worker(
    tmp_path: Path, upstream: FakeClaude
) -> None:
    """The worker dies as it claims the job again; the next one sends Claude the problem. Two calls in all."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5}}, "required": ["n"]}
    upstream.then(*answer('{"n": 1}'))
    upstream.then(*answer('```json\n{"n": 7}\n```'))
    with Rig(tmp_path, upstream=upstream.url) as rig:
        rig.start_api()
        worker = rig.start_worker(CLAUDE_RELAY_TESTING="1", CLAUDE_RELAY_FAILPOINT="claim.after_commit:2")
        rig.submit({"prompt": "A number?", "requestId": "r", "options": {"outputSchema": schema}})
        eventually(lambda: not worker.alive, within=60)
        rig.start_worker()
        rig.finished("r", within=60)

        got = rig.get("/api/result/r")
        assert (got["status"], got["json"], got["attempts"]) == ("completed", {"n": 7}, 2)
        outcomes = [call["outcome"] for call in rig.get("/api/jobs/r")["calls"]]
        assert (outcomes, len(upstream.books)) == (["schema", "released", "completed"], 2)
        asked, wrong, repair = upstream.books[1].body["messages"]
        assert (asked["content"], wrong["content"]) == ("A number?", '{"n": 1}')
        assert "minimum" in repair["content"]


def test_a_pause_and_a_refused_schema_are_each_a_line_of_the_ledger(tmp_path: Path, upstream: FakeClaude) -> None:
    """One entry per request of the upstream, and their costs add up to the callback's."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    upstream.then(*refusal("400 Bad Request", "invalid_request_error", text="Schema is too complex."))
    upstream.then(*answer('{"n":', stop_reason="pause_turn"))
    upstream.then(*answer(" 7}"))
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        rig.submit({"prompt": "A number?", "requestId": "r", "options": {"outputSchema": schema}})
        rig.finished("r", within=60)

        got, calls = rig.get("/api/result/r"), rig.get("/api/jobs/r")["calls"]
        assert (got["json"], got["attempts"]) == ({"n": 7}, 1)
        assert any("put into the prompt" in warning for warning in got["warnings"])
        assert [call["outcome"] for call in calls] == ["invalid_request", "paused", "completed"]
        assert len(upstream.books) == len(calls)
        assert sum(call["costUsd"] or 0 for call in calls) == pytest.approx(got["costUsd"])
        assert got["usage"] == {"input_tokens": 20, "output_tokens": 10}


def test_a_repeated_prefix_is_cached_and_costs_less(tmp_path: Path) -> None:
    """Three jobs with one long system prompt: plain, written, read; the callbacks' usage and cost show it."""
    options = {"systemPrompt": "You read invoices with care. " * 400}
    with Rig(tmp_path).start() as rig:
        got = []
        for number in range(3):
            rig.submit({"prompt": f"Number {number}", "requestId": f"r-{number}", "options": options})
            rig.finished(f"r-{number}", within=60)
            got.append(rig.get(f"/api/result/r-{number}"))

    read = [item["usage"]["cache_read_input_tokens"] for item in got]
    written = [item["usage"]["cache_creation_input_tokens"] for item in got]
    assert (read[:2], written[0], written[2]) == ([0, 0], 0, 0)
    assert read[2] == written[1] > 1024
    assert got[1]["costUsd"] > got[0]["costUsd"] > 3 * got[2]["costUsd"]


def test_a_large_file_is_uploaded_once_for_two_jobs_and_a_new_worker(tmp_path: Path, upstream: FakeClaude) -> None:
    """The upstream receives one upload; both calls name it, also the one after a restart."""
    file = {"data": base64.b64encode(a_pdf(padding=4_100_000)).decode(), "name": "faktura.pdf"}
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        rig.submit({"prompt": "Who?", "requestId": "r-1", "files": [file]})
        rig.finished("r-1", within=60)
        rig.worker.kill()
        rig.start_worker()
        rig.submit({"prompt": "When?", "requestId": "r-2", "files": [file]})
        rig.finished("r-2", within=60)
        rig.submit({"prompt": "Sure?", "requestId": "r-3", "continueFrom": "r-2"})
        rig.finished("r-3", within=60)
        too_long = {"data": base64.b64encode(a_pdf(601)).decode()}
        rig.submit({"prompt": "All?", "requestId": "r-4", "files": [too_long]})
        refused = rig.finished("r-4", within=60)

        assert [seen.method for seen in upstream.file_books] == ["POST"]
        sources = [seen.body["messages"][0]["content"][0]["source"] for seen in upstream.books]
        assert sources == [{"type": "file", "file_id": next(iter(upstream.files))}] * 3
        assert (refused["status"], refused["errorType"], refused["costUsd"]) == ("failed", "too_large", None)
        assert "601 pages" in refused["error"]


def test_the_invoice_of_133_fields_on_the_command_line(tmp_path: Path) -> None:
    """A PDF and a schema in, JSON that fits the schema out."""
    faktura = Path(__file__).parents[2] / "examples" / "faktura"
    with Rig(tmp_path).start() as rig:
        args = ("-a", str(faktura / "faktura.pdf"), "--schema", str(faktura / "schema.json"))
        done = rig.command("submit", "Read the invoice.", *args, "-o", "maxTokens", "16000", "--wait", "--json")

        assert done.returncode == 0, done.stderr
        body = json.loads(done.stdout)
        Draft202012Validator(json.loads((faktura / "schema.json").read_text())).validate(body["json"])
        assert (body["status"], body["truncated"]) == ("completed", False)


def test_a_tool_use_is_answered_and_the_conversation_continues(tmp_path: Path) -> None:
    """The callback has the tool use, the next job its result; without the result the API refuses it."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"name": "weather", "input_schema": schema}
    with Rig(tmp_path).start() as rig:
        rig.submit({"prompt": "Rain? [sandbox: tool weather]", "requestId": "r-1", "options": {"tools": [tool]}})
        rig.finished("r-1", within=60)
        asked = rig.get("/api/result/r-1")
        [call] = asked["content"]
        early = rig.submit({"prompt": "Well?", "continueFrom": "r-1"})
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "Rain."}
        body = {"messages": [{"role": "user", "content": [result]}], "requestId": "r-2", "continueFrom": "r-1"}
        assert rig.submit(body).status_code == 202
        status = rig.finished("r-2", within=60)

        assert (asked["stopReason"], call["name"], set(call["input"])) == ("tool_use", "weather", {"city"})
        assert early.status_code == 400 and call["id"] in early.json()["error"]
        assert status["status"] == "completed", status["error"]
        kept = rig.get("/api/jobs/r-2")["request"]["options"]
        assert kept["raw"]["tools"] == [tool]


def test_an_old_blueprint_gets_its_answer_with_its_warnings(tmp_path: Path, upstream: FakeClaude) -> None:
    """No field that Claude would refuse reaches it."""
    options = {"model": "claude-3-5-sonnet-20241022", "temperature": 1, "top_p": 0.9, "raw": {"top_k": 5}}
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        accepted = rig.submit({"prompt": "Hei", "requestId": "r", "options": options}).json()
        got = rig.finished("r", within=60)

        assert got["status"] == "completed"
        words = " ".join(accepted["warnings"])
        assert all(name in words for name in ("claude-3-5-sonnet-20241022", "temperature", "top_p", "top_k"))
        assert not {"temperature", "top_p", "top_k"} & set(upstream.books[0].body)
