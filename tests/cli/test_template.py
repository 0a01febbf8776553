"""The verb `template`, and `submit` with one, on this machine and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path


def test_a_template_is_saved_listed_shown_used_and_deleted(where, run, relay, tmp_path: Path) -> None:
    """A text file is the prompt; the name with its version is printed."""
    text = tmp_path / "les.txt"
    text.write_text("Les {{text}} på {{lang|norsk}}\n", encoding="utf-8")

    assert run("template", "save", "les", str(text))[:2] == (0, "les@1\n")
    assert run("template", "save", "les", str(text), "--description", "Leser")[:2] == (0, "les@1\n")
    [row] = [line.split("\t") for line in run("template", "list")[1].splitlines()]
    assert row[:3] == ["les", "1", "text, lang"] and row[5] == "Leser"
    assert (row[4] == "yes") is (where == "local")  # shared by default on this machine
    assert json.loads(run("template", "show", "les@1")[1]) == {"prompt": "Les {{text}} på {{lang|norsk}}"}
    assert run("submit", "-t", "les", "-v", "text", "Hei {{du}}", "--id", "r-1")[:2] == (0, "r-1\n")
    assert json.loads(run("status", "r-1", "--json")[1])["requestId"] == "r-1"
    record = relay.queries.job_details(_ref("r-1"))
    assert (record["request"]["prompt"], record["template"]) == ("Les Hei {{du}} på norsk", "les@1")
    assert run("template", "delete", "les")[0] == 0
    assert run("template", "delete", "les")[0] == 3
    assert run("submit", "-t", "les", "-v", "text", "x")[0] == 65


def test_numbers_keep_their_digits(where, run, relay, tmp_path: Path) -> None:
    """From a file of the command line to the prompt, over HTTP as well: 1.10 is no 1.1 to a bookkeeper."""
    (tmp_path / "sum.txt").write_text("{{sum}} {{rest}}", encoding="utf-8")
    body = tmp_path / "body.json"
    body.write_text('{"template": "sum", "requestId": "r-1", "variables": {"sum": 1.10, "rest": [2.50, {"x": 1e2}]}}')
    run("template", "save", "sum", str(tmp_path / "sum.txt"))

    assert run("submit", "--from-json", str(body))[0] == 0
    body.write_text(body.read_text().replace("r-1", "r-2"))
    assert run("submit", "--jsonl", str(body))[0] == 0
    prompts = [relay.queries.job_details(_ref(name))["request"]["prompt"] for name in ("r-1", "r-2")]
    assert prompts == ['1.10 [2.50,{"x":1e2}]'] * 2


def test_a_body_with_a_fault_is_bad_input(where, run, tmp_path: Path) -> None:
    body = tmp_path / "t.json"
    body.write_text('{"prompt": "{{a}}", "options": {"maxTokens": -1}}')
    code, out, err = run("template", "save", "t", str(body))

    assert (code, out) == (65, "") and "maxTokens" in err


def test_cost_by_template(where, run) -> None:
    assert run("cost", "--by", "template")[0] == 0


def _ref(request_id: str):
    from claude_relay.services import JobRef

    return JobRef(request_id=request_id)
