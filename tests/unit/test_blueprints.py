"""The importable scenarios: valid by the rules of their tools, and the same as in blueprints/."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_relay.blueprints import KEY_PLACEHOLDER, WEBHOOK_PLACEHOLDER, Blank, scenarios
from tests.support.make_rules import faults, walk
from tests.support.needs import needs

FOLDER = Path(__file__).parents[2] / "blueprints"
BLANK = Blank(url="https://relay.example.com")
MAKE = {entry.file: entry.content for entry in scenarios("make", BLANK)}
[N8N] = [entry.content for entry in scenarios("n8n", BLANK)]


@pytest.mark.parametrize("file", [*MAKE, "n8n.json"])
def test_the_files_in_the_folder_are_what_the_command_writes(file: str) -> None:
    """`claude-relay blueprint make --url https://relay.example.com -o blueprints --force`, and the same with n8n."""
    made = MAKE.get(file, N8N)

    assert (FOLDER / file).read_text(encoding="utf-8") == json.dumps(made, ensure_ascii=False, indent=2) + "\n"


@pytest.mark.parametrize("file", MAKE)
def test_make_accepts_the_blueprint(file: str) -> None:
    assert faults(MAKE[file]) == []


def _at(number: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda blueprint: next(module for module, _ in walk(blueprint["flow"]) if module["id"] == number)


#: A fault to put in, and a word of the sentence that must come of it.
_SUBMIT: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("unexpected key", lambda bp: bp.update(id=7)),
    ("1 to 120", lambda bp: bp.update(name="x" * 121)),
    ("orphans", lambda bp: bp["metadata"].pop("designer")),
    ("version 1", lambda bp: bp["metadata"].update(version=2)),
    ("flow is empty", lambda bp: bp.update(flow=[])),
    ("used twice", lambda bp: _at(5)(bp).update(id=4)),
    ("whole number", lambda bp: _at(5)(bp).update(id=0)),
    ("no module of Make's", lambda bp: _at(4)(bp).update(module="http:SendRequest")),
    ("has version 4", lambda bp: _at(4)(bp).update(version=3)),
    ("parameters.hook", lambda bp: _at(1)(bp)["parameters"].update(hook=123)),
    ("parameters.apiKeyKeychain", lambda bp: _at(4)(bp)["parameters"].update(apiKeyKeychain=1)),
    ("metadata.restore", lambda bp: _at(4)(bp)["metadata"].update(restore={})),
    ("no place", lambda bp: _at(4)(bp)["metadata"].pop("designer")),
    (
        "trigger has a filter",
        lambda bp: _at(1)(bp).update(filter={"name": "x", "conditions": [[{"a": "1", "o": "exist"}]]}),
    ),
    ("a trigger comes first", lambda bp: bp["flow"].pop(0)),
    ("timeout", lambda bp: _at(4)(bp)["mapper"].update(timeout=301)),
    ("pairs of name and value", lambda bp: _at(4)(bp)["mapper"].update(headers=[{"key": "a", "value": "b"}])),
    ("not escaped", lambda bp: _at(4)(bp)["mapper"].update(jsonStringBodyContent='{"prompt": "{{1.prompt}}"}')),
    ("no JSON", lambda bp: _at(4)(bp)["mapper"].update(jsonStringBodyContent='{"prompt": {{3.json}}')),
    ("does not run before", lambda bp: _at(2)(bp)["mapper"].update(value="{{4.data}}")),
    ("does not run before", lambda bp: _at(2)(bp)["mapper"].update(value="{{ifempty(9.x; uuid)}}")),
    ("dlq", lambda bp: bp["metadata"]["scenario"].update(dlq=False)),
    ("retry, count", lambda bp: _at(5)(bp)["mapper"].pop("count")),
    ("directive", lambda bp: _at(5)(bp).update(module="util:SetVariable2")),
    ("e-mail", lambda bp: bp.update(description="ask ola@nordmann.no")),
    ("like a key", lambda bp: _at(4)(bp)["mapper"]["headers"][0].update(value="crk_00000000_secret")),
    ("Make's own", lambda bp: bp.update(description="https://hook.eu1.make.com/abcdefgh")),
]
_RECEIVE: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("mapper is null", lambda bp: _at(2)(bp).update(mapper={})),
    ("has no filter", lambda bp: _at(2)(bp).update(filter=_at(3)(bp)["filter"])),
    ("no error handler", lambda bp: _at(2)(bp).update(onerror=_at(4)(bp)["onerror"])),
    ("routes with modules", lambda bp: _at(2)(bp)["routes"][0].update(flow=[])),
    ("list (OR) of lists", lambda bp: _at(3)(bp)["filter"].update(conditions=[{"a": "x", "o": "exist"}])),
    ("no operator", lambda bp: _at(3)(bp)["filter"]["conditions"][0][0].update(o="equals")),
    ("takes no b", lambda bp: _at(3)(bp)["filter"]["conditions"][0][0].update(o="exist")),
    ("does not run before", lambda bp: _at(6)(bp)["mapper"].update(url="{{3.answer}}")),  # across routes
]


@pytest.mark.parametrize(
    "file, words, spoil",
    [("make-submit.json", *entry) for entry in _SUBMIT] + [("make-receive.json", *entry) for entry in _RECEIVE],
)
def test_the_rules_report_each_fault(file: str, words: str, spoil: Callable[[dict[str, Any]], object]) -> None:
    """Each rule fails on a blueprint that breaks it."""
    blueprint = copy.deepcopy(MAKE[file])
    spoil(blueprint)

    assert any(words in fault for fault in faults(blueprint))


def test_the_request_id_is_created_before_the_call_for_idempotent_retries() -> None:
    """Break reruns the failed module; the results of the modules before it stay."""
    flow = {module["id"]: module for module, _ in walk(MAKE["make-submit.json"]["flow"])}
    [header] = [entry["value"] for entry in flow[4]["mapper"]["headers"] if entry["name"] == "Idempotency-Key"]

    assert "uuid" in flow[2]["mapper"]["value"]
    assert header == "{{2.requestId}}"
    assert "uuid" not in json.dumps(flow[4])


def test_every_connection_of_the_n8n_workflow_has_a_target() -> None:
    names = [node["name"] for node in N8N["nodes"]]
    ends = {end["node"] for outputs in N8N["connections"].values() for some in outputs["main"] for end in some}

    assert len(set(names)) == len(names)
    assert set(N8N["connections"]) | ends == set(names)
    assert {node["type"]: node["typeVersion"] for node in N8N["nodes"]} == {
        "n8n-nodes-base.manualTrigger": 1,
        "n8n-nodes-base.set": 3.4,
        "n8n-nodes-base.httpRequest": 4.2,
        "n8n-nodes-base.wait": 1.1,
        "n8n-nodes-base.if": 2.2,
    }


@pytest.mark.parametrize("prompt", ["plain", 'with "quotes"\nand a line', "back\\slash {{ }} ${x} `y`", "æøå 😀\u2028"])
def test_the_n8n_body_is_json_for_any_prompt(prompt: str) -> None:
    """The expression is JavaScript and is evaluated by node."""
    [submit] = [node for node in N8N["nodes"] if node["name"] == "Submit"]
    expression = submit["parameters"]["jsonBody"].removeprefix("={{").removesuffix("}}")
    script = (
        f"const $json = {json.dumps({'prompt': prompt})}, $workflow = {{id: 'w'}},"
        f" $execution = {{id: '7', resumeUrl: 'http://n8n/x'}}; process.stdout.write({expression})"
    )
    output = subprocess.run([needs("node", "nodejs"), "-e", script], capture_output=True, text=True, check=True).stdout

    assert json.loads(output) == {
        "prompt": prompt,
        "webhookUrl": "http://n8n/x",
        "group": "default",
        "requestId": "n8n-w-7",
    }


def test_all_placeholders_are_filled_in() -> None:
    blank = Blank(url="https://x.example", group="faktura", key="k", webhook="https://hook.example/y")
    for tool in ("make", "n8n"):
        text = json.dumps([entry.content for entry in scenarios(tool, blank)])
        assert "https://x.example/api/claude" in text
        assert "faktura" in text
        assert KEY_PLACEHOLDER not in text
        assert WEBHOOK_PLACEHOLDER not in text


def test_a_key_is_not_in_the_repr_of_anything() -> None:
    blank = Blank(url="https://x.example", key="crk_secret")

    assert "crk_secret" not in repr((blank, scenarios("make", blank)))
