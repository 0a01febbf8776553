"""The importable scenarios: valid by the rules of their tools, and the same as in blueprints/."""

from __future__ import annotations

import copy
import itertools
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_relay.blueprints import (
    KEY_PLACEHOLDER,
    TEMPLATE_PLACEHOLDER,
    VARIANTS,
    WEBHOOK_PLACEHOLDER,
    Blank,
    scenarios,
)
from tests.support.make_player import Failed, Player
from tests.support.make_rules import faults, walk
from tests.support.needs import needs

FOLDER = Path(__file__).parents[2] / "blueprints"
BLANK = Blank(url="https://relay.example.com")
MAKE = {entry.file: entry.content for entry in scenarios("make", BLANK)}
[N8N] = [entry.content for entry in scenarios("n8n", BLANK)]
INVOICES = replace(BLANK, template="faktura")
MAKE_INVOICE = {entry.file: entry.content for entry in scenarios("make", INVOICES, "invoice")}
[N8N_INVOICE] = [entry.content for entry in scenarios("n8n", INVOICES, "invoice")]
MAKE_SHEET = {entry.file: entry.content for entry in scenarios("make", BLANK, "sheet")}
[N8N_SHEET] = [entry.content for entry in scenarios("n8n", BLANK, "sheet")]
ALL_MAKE = MAKE | MAKE_INVOICE | MAKE_SHEET
ALL_N8N = {"n8n.json": N8N, "n8n-invoice.json": N8N_INVOICE, "n8n-sheet.json": N8N_SHEET}


@pytest.mark.parametrize("file", [*ALL_MAKE, *ALL_N8N])
def test_the_files_in_the_folder_are_what_the_command_writes(file: str) -> None:
    """`claude-relay blueprint make --url https://relay.example.com -o blueprints --force`, each tool and variant."""
    made = (ALL_MAKE | ALL_N8N)[file]

    assert (FOLDER / file).read_text(encoding="utf-8") == json.dumps(made, ensure_ascii=False, indent=2) + "\n"


def test_the_folder_has_no_other_files() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == {*ALL_MAKE, *ALL_N8N}


@pytest.mark.parametrize("file", ALL_MAKE)
def test_make_accepts_the_blueprint(file: str) -> None:
    assert faults(ALL_MAKE[file]) == []


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
    ("begin with https://", lambda bp: _at(4)(bp)["mapper"].update(url="{{1.ackUrl}}")),
    ("begin with https://", lambda bp: _at(4)(bp)["mapper"].update(url="https://{{1.host}}/ack")),
    ("begin with https://", lambda bp: _at(4)(bp)["mapper"].update(url="http://relay.example.com/")),
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
_INVOICE: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("has version 4", lambda bp: _at(2)(bp).update(version=3)),
    ("parameters.__IMTCONN__", lambda bp: _at(1)(bp)["parameters"].update(__IMTCONN__=1)),
    ("a trigger comes first", lambda bp: bp["flow"].pop(0)),
    ("not escaped", lambda bp: _at(5)(bp)["mapper"].update(jsonStringBodyContent='{"name": "{{1.name}}"}')),
    ("not escaped", lambda bp: _at(5)(bp)["mapper"].update(jsonStringBodyContent='{"data": "{{2.data}}"}')),
]


@pytest.mark.parametrize(
    "file, words, spoil",
    [("make-submit.json", *entry) for entry in _SUBMIT]
    + [("make-receive.json", *entry) for entry in _RECEIVE]
    + [("make-invoice-submit.json", *entry) for entry in _INVOICE],
)
def test_the_rules_report_each_fault(file: str, words: str, spoil: Callable[[dict[str, Any]], object]) -> None:
    """Each rule fails on a blueprint that breaks it."""
    blueprint = copy.deepcopy(ALL_MAKE[file])
    spoil(blueprint)

    assert any(words in fault for fault in faults(blueprint))


def test_the_request_id_is_created_before_the_call_for_idempotent_retries() -> None:
    """Break reruns the failed module; the results of the modules before it stay."""
    flow = {module["id"]: module for module, _ in walk(MAKE["make-submit.json"]["flow"])}
    [header] = [entry["value"] for entry in flow[4]["mapper"]["headers"] if entry["name"] == "Idempotency-Key"]

    assert "uuid" in flow[2]["mapper"]["value"]
    assert header == "{{2.requestId}}"
    assert "uuid" not in json.dumps(flow[4])


@pytest.mark.parametrize("file", ALL_N8N)
def test_every_connection_of_the_n8n_workflow_has_a_target(file: str) -> None:
    workflow = ALL_N8N[file]
    names = [node["name"] for node in workflow["nodes"]]
    ends = {end["node"] for outputs in workflow["connections"].values() for some in outputs["main"] for end in some}

    assert len(set(names)) == len(names)
    assert set(workflow["connections"]) | ends == set(names)
    assert {node["type"]: node["typeVersion"] for node in workflow["nodes"]}.items() <= {
        "n8n-nodes-base.code": 2,
        "n8n-nodes-base.formTrigger": 2.2,
        "n8n-nodes-base.googleDrive": 3,
        "n8n-nodes-base.googleDriveTrigger": 1,
        "n8n-nodes-base.manualTrigger": 1,
        "n8n-nodes-base.set": 3.4,
        "n8n-nodes-base.httpRequest": 4.2,
        "n8n-nodes-base.wait": 1.1,
        "n8n-nodes-base.if": 2.2,
        "n8n-nodes-base.splitInBatches": 3,
        "n8n-nodes-base.noOp": 1,
        "n8n-nodes-base.stopAndError": 1,
    }.items()


def _node(name: str, workflow: dict[str, Any] = N8N) -> dict[str, Any]:
    return next(node["parameters"] for node in workflow["nodes"] if node["name"] == name)


def _evaluated(expression: str, **names: Any) -> Any:
    """The value of an expression of n8n, by node; `$('Submit')` and so on answer with their JSON in `nodes`."""
    nodes = names.pop("nodes", {})
    script = (
        f"const $nodes = {json.dumps(nodes)}, $ = name => ({{first: () => ({{json: $nodes[name]}})}});"
        + "".join(f"const ${name} = {json.dumps(value)};" for name, value in names.items())
        + f"process.stdout.write(JSON.stringify({expression.removeprefix('={{').removesuffix('}}')}))"
    )
    output = subprocess.run([needs("node", "nodejs"), "-e", script], capture_output=True, text=True, check=True).stdout

    return json.loads(output)


def _body(prompt: str, run: int = 0, item: int = 0) -> dict[str, Any]:
    names: dict[str, Any] = dict(workflow={"id": "w"}, execution={"id": "7", "resumeUrl": "http://n8n/x"})
    text = _evaluated(_node("Submit")["jsonBody"], json={"prompt": prompt}, runIndex=run, itemIndex=item, **names)
    body: dict[str, Any] = json.loads(text)

    return body


@pytest.mark.process
@pytest.mark.parametrize("prompt", ["plain", 'with "quotes"\nand a line', "back\\slash {{ }} ${x} `y`", "æøå 😀\u2028"])
def test_the_n8n_body_is_json_for_any_prompt(prompt: str) -> None:
    """The expression is JavaScript and is evaluated by node."""
    assert _body(prompt) == {
        "prompt": prompt,
        "webhookUrl": "http://n8n/x",
        "group": "default",
        "requestId": "n8n-w-7-0-0",
    }


@pytest.mark.process
def test_each_item_and_round_in_n8n_has_a_request_id_of_its_own() -> None:
    """CASES N1: items of one run and rounds of a loop are jobs of their own; a repeated node is the same job."""
    ids = [_body("Hei", run, item)["requestId"] for run in range(3) for item in range(3)]

    assert len(set(ids)) == 9
    assert _body("Hei", 2, 1)["requestId"] == ids[7]


def test_the_n8n_items_go_through_a_loop() -> None:
    """CASES N1: one item a round; every path of a round leads back to the loop, and its end to the answers."""
    ends = {name: [end["node"] for way in out["main"] for end in way] for name, out in N8N["connections"].items()}

    assert ends["Loop"] == ["Any problem?", "Submit"]  # after the last item; each item
    assert [name for name, there in ends.items() if "Loop" in there] == ["Prompt", "Result"]
    assert (ends["Has an ackUrl?"], ends["Acknowledge"]) == (["Acknowledge", "Result"], ["Result"])
    assert ends["Any problem?"] == ["Stop and Error", "All answers"]


def test_the_n8n_file_has_an_id_for_the_import_on_the_command_line() -> None:
    """CASES N3: `n8n import:workflow` stores the id; a file for another relay or group is another workflow."""
    other = scenarios("n8n", Blank(url=BLANK.url, group="faktura"))[0].content

    assert re.fullmatch("[0-9a-f]{16}", N8N["id"])
    assert len({other["id"], *(workflow["id"] for workflow in ALL_N8N.values())}) == 1 + len(ALL_N8N)


@pytest.mark.process
@pytest.mark.parametrize(
    "body, problem",
    [
        ({"status": "completed", "truncated": False, "stopReason": "end_turn"}, ""),
        ({"status": "failed", "errorType": "refused", "error": "Claude declined"}, "refused: Claude declined"),
        ({"status": "failed", "error": "Claude declined"}, "failed: Claude declined"),  # RELAY_CALLBACK=seed
        ({"status": "completed", "truncated": True}, "truncated: .*maxTokens"),
        ({"status": "completed", "stopReason": "max_tokens"}, "truncated: .*maxTokens"),  # RELAY_CALLBACK=seed
        ({"status": "completed", "responseTruncated": True, "resultUrl": "https://r/x"}, "truncated: .*https://r/x"),
        (None, "timeout: no callback of id-1 .* GET https://relay.example.com/api/result/id-1 .* result id-1"),
    ],
)
def test_a_problem_in_n8n_is_named_and_stops_the_execution(body: dict[str, Any] | None, problem: str) -> None:
    """CASES N7, N8: a failure, a cut answer and a time-out; the words of the last say how to get the result."""
    values = {entry["name"]: entry["value"] for entry in _node("Outcome")["assignments"]["assignments"]}
    arrived = {"body": body} if body else {"message": "Request accepted and processing"}
    nodes = {"Submit": {"requestId": "id-1"}}
    outcome = {name: _evaluated(value, json=arrived, nodes=nodes) for name, value in values.items()}

    assert re.fullmatch(problem, outcome["problem"])
    complete = _node("Complete?")["conditions"]["conditions"][0]["leftValue"]
    assert _evaluated(complete, json=outcome) is not bool(problem)
    stop = _evaluated(_node("Stop and Error")["errorMessage"].replace("$input.all()", "[{json: $json}]"), json=outcome)
    assert re.fullmatch(f"id-1: {problem}", stop)


@pytest.mark.process
@pytest.mark.parametrize("url, called", [(None, False), ("https://r/ack/x", True)])
def test_n8n_passes_over_the_acknowledgement_without_an_ack_url(url: str | None, called: bool) -> None:
    """CASES N4: without RELAY_PUBLIC_URL the `ackUrl` is null."""
    [entry] = [entry for entry in _node("Outcome")["assignments"]["assignments"] if entry["name"] == "ackUrl"]
    outcome = {"ackUrl": _evaluated(entry["value"], json={"body": {"ackUrl": url}})}
    condition = _node("Has an ackUrl?")["conditions"]["conditions"][0]["leftValue"]

    assert _evaluated(condition, nodes={"Outcome": outcome}) is called


@pytest.mark.process
def test_n8n_recognises_the_repeated_callback_of_an_earlier_item() -> None:
    """CASES N1: one URL resumes every round of the loop, so a repeat would answer for the next item."""
    condition = _node("Of this item?")["conditions"]["conditions"][0]["leftValue"]
    nodes = {"Submit": {"requestId": "id-2"}}
    took = [{"body": {"requestId": "id-1"}}, {"body": {"requestId": "id-2"}}, {"requestId": "id-2"}]

    assert [_evaluated(condition, json=item, nodes=nodes) for item in took] == [False, True, True]


@pytest.mark.parametrize(
    "change, route",
    [
        ({"status": "completed", "truncated": False}, 3),
        ({"status": "completed"}, 3),  # RELAY_CALLBACK=seed
        ({"status": "failed", "errorType": "refused", "error": "Claude declined"}, 5),
        ({"status": "failed", "responseTruncated": True}, 5),
        ({"status": "completed", "truncated": True}, 11),
        ({"status": "completed", "truncated": False, "responseTruncated": True}, 11),
    ],
)
def test_each_callback_takes_one_route_in_make_and_all_but_a_whole_answer_stop(
    change: dict[str, Any], route: int
) -> None:
    """CASES N4, N7: no ackUrl, no acknowledgement; the run still ends with an error."""
    player = Player(MAKE["make-receive.json"])
    bundle = {"requestId": "id-1", "response": "Hei", "ackUrl": None, **change}
    if route == 3:
        assert set(player.run(bundle)) == {1, 3}
        return
    with pytest.raises(Failed) as stopped:
        player.run(bundle)

    assert stopped.value.module == 17
    assert set(stopped.value.results) == {1, route}


INVOICE_CALLBACK = {
    "requestId": "id-1",
    "status": "completed",
    "truncated": False,
    "json": {"kid": "1"},
    "metadata": {"file": "21.pdf"},
    "ackUrl": None,
}
KID = {"name": "KID", "rule": "mod10(kid)", "ok": False, "left": None, "right": None, "difference": None}
SUM = {"name": "sum", "rule": "a + b == c", "ok": False, "left": "3", "right": "4", "difference": "-1"}
FINE = {"name": "date", "rule": "due >= date", "ok": True, "left": "2", "right": "1", "difference": "1"}


@pytest.mark.parametrize(
    "change, route, text",
    [
        ({"checksFailed": 0, "checks": [FINE]}, 3, "21.pdf"),
        ({"checksFailed": 2, "checks": [KID, FINE, SUM]}, 23, "21.pdf: 2 checks failed: KID, sum"),
        ({}, 23, "21.pdf: unknown checks failed: "),  # a template without checks: a person looks at it
        ({"status": "failed", "errorType": "checks", "checksFailed": 1}, 5, None),
        ({"truncated": True, "checksFailed": 0}, 11, None),
    ],
)
def test_each_invoice_takes_one_route_in_make(change: dict[str, Any], route: int, text: str | None) -> None:
    """Good ones, failed checks to a person, failures, cut answers; only the last two stop the run."""
    player = Player(MAKE_INVOICE["make-invoice-receive.json"])
    if text is None:
        with pytest.raises(Failed) as stopped:
            player.run({**INVOICE_CALLBACK, **change})
        assert set(stopped.value.results) == {1, route}
        return
    results = player.run({**INVOICE_CALLBACK, **change})

    assert set(results) == {1, route}
    assert list(results[route].values()) == [text]


def test_only_a_pdf_is_sent_to_the_relay() -> None:
    """The filter stands before the file is fetched."""
    results = Player(MAKE_INVOICE["make-invoice-submit.json"]).run({"id": "x", "name": "logo.png"})

    assert set(results) == {1}


@pytest.mark.process
@pytest.mark.parametrize(
    "change, route, words",
    [
        ({"checksFailed": 0, "checks": [FINE]}, "Good", ""),
        (
            {"checksFailed": 2, "checks": [KID, FINE, SUM]},
            "To a person",
            "KID (mod10(kid))\nsum (a + b == c): 3 and 4, difference -1",
        ),
        ({}, "To a person", "not checked: the template has no options.checks"),
        ({"status": "failed", "errorType": "checks", "error": "KID is wrong"}, "Problem", None),
    ],
)
def test_each_invoice_takes_one_branch_in_n8n(change: dict[str, Any], route: str, words: str | None) -> None:
    """An answer that was not checked goes to a person, too."""
    values = {item["name"]: item["value"] for item in _node("Outcome", N8N_INVOICE)["assignments"]["assignments"]}
    nodes = {"Submit": {"requestId": "id-1"}, "Loop": {"file": "21.pdf"}}
    callback = {"body": {**INVOICE_CALLBACK, **change}}
    outcome = {name: _evaluated(value, json=callback, nodes=nodes) for name, value in values.items()}

    taken = "Complete?"
    while taken.endswith("?") and taken != "Has an ackUrl?":
        [test] = _node(taken, N8N_INVOICE)["conditions"]["conditions"]
        ways = N8N_INVOICE["connections"][taken]["main"]
        taken = ways[0 if _evaluated(test["leftValue"], json=outcome) else 1][0]["node"]

    assert taken == route
    assert outcome["file"] == "21.pdf"
    assert words is None or outcome["failedChecks"] == words


@pytest.mark.process
def test_each_pdf_of_a_form_is_an_item_of_its_own_in_n8n() -> None:
    """Several files in one form, and pictures among the attachments of an e-mail."""
    items = [
        {
            "binary": {
                "Invoices_0": {"fileName": "1.pdf", "mimeType": "application/pdf"},
                "logo": {"fileName": "logo.png", "mimeType": "image/png"},
            }
        },
        {"json": {}},
        {"binary": {"attachment_0": {"fileName": "2.pdf", "mimeType": "application/pdf"}}},
    ]
    code = _node("Each PDF", N8N_INVOICE)["jsCode"]
    files = _evaluated(f"(($input) => {{ {code} }})({{ all: () => $items }})", items=items)

    assert [item["json"]["file"] for item in files] == ["1.pdf", "2.pdf"]
    assert [item["binary"]["file"]["fileName"] for item in files] == ["1.pdf", "2.pdf"]


SHEET_CALLBACK = {
    "collectionId": "c-1",
    "status": "partial",
    "total": 2,
    "failed": 1,
    "results": [
        {"row": 1, "requestId": "c-1:1", "status": "completed", "response": "Hei", "json": {"price": 7}},
        {"row": 2, "requestId": "c-1:2", "status": "failed", "error": "Claude declined", "errorType": "refused"},
    ],
    "ackUrl": None,
}


def test_each_row_of_a_sheet_takes_its_route_in_make() -> None:
    """One callback, two rows, and a stop since one of them failed."""
    player = Player(MAKE_SHEET["make-sheet-receive.json"])
    with pytest.raises(Failed, match="c-1 partial: 1 of 2 rows failed"):
        player.run(SHEET_CALLBACK)
    rows = player.log[:]
    player.run({**SHEET_CALLBACK, "status": "completed", "failed": 0, "results": SHEET_CALLBACK["results"][:1]})

    assert rows == [(5, {"row": "1: Hei"}), (6, {"problem": "2: refused: Claude declined"})]
    assert player.log[len(rows) :] == rows[:1]


@pytest.mark.process
def test_the_rows_of_a_sheet_are_one_request_in_n8n() -> None:
    """All items in their order, under an id that a repeat of the node has again."""
    text = _evaluated(
        _node("Submit", N8N_SHEET)["jsonBody"].replace("$input.all()", "$items"),
        items=[{"json": {"text": 'a "b"\n'}}, {"json": {"text": "æ"}}],
        workflow={"id": "w"},
        execution={"id": "7", "resumeUrl": "http://n8n/x"},
    )

    assert json.loads(text) == {
        "collectionId": "n8n-w-7",
        "template": TEMPLATE_PLACEHOLDER,
        "rows": [{"text": 'a "b"\n'}, {"text": "æ"}],
        "webhookUrl": "http://n8n/x",
        "group": "default",
    }
    assert next(node for node in N8N_SHEET["nodes"] if node["name"] == "Submit")["executeOnce"] is True


@pytest.mark.process
@pytest.mark.parametrize("truncated", [False, True])
def test_the_results_of_a_sheet_are_rows_again_in_n8n(truncated: bool) -> None:
    """The columns of the input and of the answer, from the callback or fetched where it was too large for them."""
    results = SHEET_CALLBACK["results"]
    outcome = {"truncated": truncated, "results": [] if truncated else results}
    code = _node("Each row", N8N_SHEET)["jsCode"]
    script = f"(($, $input) => {{ {code} }})(name => $found[name], {{ all: () => $items.map(json => ({{ json }})) }})"
    rows = _evaluated(
        script.replace("$found[name]", "({all: () => $found.Rows, first: () => ({ json: $found.Outcome })})"),
        found={"Rows": [{"json": {"text": "a"}}, {"json": {"text": "b"}}], "Outcome": outcome},
        items=results if truncated else [outcome],
    )

    assert [row["json"]["text"] for row in rows] == ["a", "b"]
    assert rows[0]["json"]["price"] == 7
    assert [(row["json"]["status"], row["json"]["error"]) for row in rows] == [
        ("completed", ""),
        ("failed", "Claude declined"),
    ]


@pytest.mark.process
@pytest.mark.parametrize(
    "body, problem",
    [
        ({"status": "completed", "failed": 0, "total": 2}, ""),
        ({"status": "partial", "failed": 1, "total": 2}, "1 of 2 rows failed"),
        (None, "timeout: no callback of c-1 .* table results c-1"),
    ],
)
def test_a_problem_of_a_sheet_in_n8n_is_named(body: dict[str, Any] | None, problem: str) -> None:
    values = {item["name"]: item["value"] for item in _node("Outcome", N8N_SHEET)["assignments"]["assignments"]}
    arrived = {"body": body} if body else {"message": "accepted"}
    nodes = {"Submit": {"collectionId": "c-1"}}

    assert re.fullmatch(problem, _evaluated(values["problem"], json=arrived, nodes=nodes))


def test_all_placeholders_are_filled_in() -> None:
    blank = Blank(url="https://x.example", group="bilag", key="k", webhook="https://hook.example/y", template="t@3")
    for tool, variant in itertools.product(("make", "n8n"), VARIANTS):
        text = json.dumps([entry.content for entry in scenarios(tool, blank, variant)])
        assert "https://x.example/api/" in text
        assert "bilag" in text
        assert ("t@3" in text) is (variant != "prompt")
        assert not [mark for mark in (KEY_PLACEHOLDER, WEBHOOK_PLACEHOLDER, TEMPLATE_PLACEHOLDER) if mark in text]


def test_a_key_is_not_in_the_repr_of_anything() -> None:
    blank = Blank(url="https://x.example", key="crk_secret")

    assert "crk_secret" not in repr((blank, scenarios("make", blank)))
