"""The generated scenarios against a real relay, as they are after the import."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude
from tests.support.make_player import Failed, Player
from tests.support.ports import free_port
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process

EXAMPLE = Path(__file__).parents[2] / "examples" / "faktura"

#: Characters that break JSON, as Make inserts values unescaped.
PROMPT = 'Les fakturaen "nr. 7":\n{"sum": 1}\t\\ ferdig'


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    port = free_port()
    with Rig(tmp_path, RELAY_PROVIDER="sandbox", RELAY_PUBLIC_URL=f"http://127.0.0.1:{port}") as rig:
        rig.start_api(PORT=str(port))
        rig.start_worker()
        yield rig


def written(rig: Rig, *args: str) -> dict[str, Any]:
    """The generated files by name."""
    folder = rig.folder / "scenarios"
    output = rig.command("blueprint", *args, "-o", str(folder), "--force")
    assert output.returncode == 0, output.stderr

    return {Path(line).name: json.loads(Path(line).read_text()) for line in output.stdout.split()}


def test_both_make_scenarios_submit_a_prompt_and_acknowledge_its_result(rig: Rig) -> None:
    """Submit, callback, route by status, acknowledge; CASES N11: the key made for it may read its own job, no more."""
    with Receiver() as hook:
        files = written(rig, "make", "--with-key", "--group", "faktura", "--webhook", hook.url("/make"))
        modes = {path.stat().st_mode & 0o777 for path in (rig.folder / "scenarios").iterdir()}
        assert modes == {0o600}  # there is a key in them
        submit, receive = Player(files["make-submit.json"]), Player(files["make-receive.json"])

        output = submit.run({"prompt": PROMPT})
        request_id = output[2]["requestId"]
        assert output[4]["statusCode"] == 202
        assert output[4]["data"]["requestId"] == request_id
        [callback] = hook.wait_for(1)

    took = receive.run(callback.json)
    assert took[3]["answer"] == callback.json["response"]
    assert 5 not in took  # the other route

    status = eventually(lambda: (now := rig.status(request_id))["acked"] and now)
    assert (status["group"], status["promptLength"]) == ("faktura", len(PROMPT))
    [key] = [
        item["value"] for item in files["make-submit.json"]["flow"][3]["mapper"]["headers"] if "Key" in item["name"]
    ][:1]
    statuses = [
        rig.http.get(f"{rig.url}/api/{path}", headers={"X-API-Key": key}).status_code
        for path in (f"status/{request_id}", f"result/{request_id}", "overview")
    ]
    assert statuses == [200, 200, 403]


def test_a_failure_takes_the_other_route_is_acknowledged_too_and_stops_the_run(rig: Rig) -> None:
    """CASES N2, N7: the acknowledgement is called at a URL that is written out; the last route fails."""
    with Receiver() as hook:
        files = written(rig, "make", "--with-key", "--webhook", hook.url("/make"))
        Player(files["make-submit.json"]).run({"prompt": "[sandbox: refuse]", "requestId": "faktura-1"})
        [callback] = hook.wait_for(1)

    with pytest.raises(Failed, match="faktura-1 failed refused") as stopped:
        Player(files["make-receive.json"]).run(callback.json)

    assert stopped.value.results[5]["problem"].startswith("refused: ")
    assert eventually(lambda: rig.status("faktura-1")["acked"])


def test_a_repeat_by_the_break_handler_is_the_same_job(tmp_path: Path) -> None:
    """The relay is down when the scenario calls; the repeat by Make is one job and one paid call."""
    with FakeClaude() as upstream, Receiver() as hook, Rig(tmp_path, upstream=upstream.url) as rig:
        rig.start()
        files = written(rig, "make", "--url", rig.url, "--with-key", "--webhook", hook.url("/make"))
        player = Player(files["make-submit.json"])
        rig.command("pause")
        outputs = player.run({"prompt": PROMPT})
        again = player.retry(Failed(4, 500, "", {key: outputs[key] for key in (1, 2, 3)}))
        rig.command("resume")
        hook.wait_for(1)

        assert again[4]["data"]["requestId"] == outputs[4]["data"]["requestId"]
        assert again[4]["data"]["duplicate"] is True
        assert len(upstream.books) == 1


def test_the_invoices_of_a_folder_take_the_route_of_their_checks(rig: Rig) -> None:
    """
    Template by name and the file itself; good ones, a wrong sum for a person, a misread one repaired.

    The names of the files are those of people: Norwegian letters, quotes, a picture, an extension in capitals.
    """
    invoices = {path.name[:2]: path for path in sorted((EXAMPLE / "fakturaer").glob("*.pdf"))}
    names = {"01": 'Blåbær & sønn "nr. 1" 🧾.PDF', "05": "Kvittering \\ æøå.pdf", "17": "«Årsavgift» 2026/17.pdf"}
    drive = {f"1AbC_{number}": invoices[number].read_bytes() for number in names}
    rig.command("template", "save", "faktura", str(EXAMPLE / "template.json"))
    with Receiver() as hook:
        files = written(rig, "make", "--variant", "invoice", "--with-key", "--webhook", hook.url("/make"))
        submit = Player(files["make-invoice-submit.json"], drive=drive)
        for number, name in names.items():
            output = submit.run({"id": f"1AbC_{number}", "name": name})
            assert output[5]["statusCode"] == 202
        again = submit.run({"id": "1AbC_17", "name": names["17"]})  # Make sends the file once more
        callbacks = {call.json["requestId"]: call.json for call in hook.wait_for(3)}

    assert again[5]["data"]["duplicate"] is True
    took = {key: Player(files["make-invoice-receive.json"]).run(body) for key, body in callbacks.items()}
    assert {key: sorted(results) for key, results in took.items()} == {
        "invoice-1AbC_01": [1, 3, 4],
        "invoice-1AbC_05": [1, 3, 4],
        "invoice-1AbC_17": [1, 23, 24],
    }
    assert took["invoice-1AbC_17"][23]["review"] == f"{names['17']}: 1 checks failed: sum + mva = å betale"
    assert took["invoice-1AbC_01"][3]["invoice"] == names["01"]
    assert callbacks["invoice-1AbC_05"]["attempts"] == 2
    assert all(eventually(lambda key=key: rig.status(key)["acked"]) for key in callbacks)


def test_the_form_of_the_n8n_workflow_is_a_job_by_the_template(rig: Rig) -> None:
    """The fields and the file of its Submit node, sent as n8n does: a multipart form."""
    rig.command("template", "save", "faktura", str(EXAMPLE / "template.json"))
    workflow = written(rig, "n8n", "--variant", "invoice", "--with-key")["n8n-invoice.json"]
    node = next(node["parameters"] for node in workflow["nodes"] if node["name"] == "Submit")
    [invoice] = (EXAMPLE / "fakturaer").glob("21-*.pdf")
    values = {"={{ $json.file }}": invoice.name, "={{ $execution.resumeUrl }}": "http://127.0.0.1:9/x"}
    fields, files = {}, {}
    for item in node["bodyParameters"]["parameters"]:
        if item["parameterType"] == "formBinaryData":
            files[item["name"]] = (invoice.name, invoice.read_bytes(), "application/pdf")
        elif item["name"] != "requestId":
            fields[item["name"]] = values.get(item["value"], item["value"])
    headers = {item["name"]: item["value"] for item in node["headerParameters"]["parameters"]}
    accepted = rig.http.post(node["url"], data=fields, files=files, headers=headers).json()

    eventually(lambda: rig.status(accepted["requestId"])["status"] == "completed")
    result = rig.http.get(f"{rig.url}/api/result/{accepted['requestId']}").json()
    assert (result["checksFailed"], result["metadata"]) == (1, {"file": invoice.name})
    assert result["template"].startswith("faktura@")
    assert accepted["warnings"] == []


def test_the_rows_of_a_sheet_are_one_callback_in_make(rig: Rig) -> None:
    """
    Rows in, one callback, a route a row, the acknowledgement, and a stop for the row that Claude declined.

    The rows are those of Make's Google Sheets: columns by number, and the line, which the result brings back.
    """
    template = {"prompt": "{{0}} {{1|wood}}", "metadata": {"line": "{{__ROW_NUMBER__}}"}}
    rig.command("template", "save", "rows", "-", input=json.dumps(template))
    rows = [
        {"0": PROMPT, "1": 'tre "massiv" 🪵', "__ROW_NUMBER__": 2, "__SHEET__": "Ark 1", "__IMTINDEX__": 1},
        {"0": "[sandbox: refuse]", "1": "", "__ROW_NUMBER__": 5, "__SHEET__": "Ark 1", "__IMTINDEX__": 2},
        {"0": "æøå", "__ROW_NUMBER__": 9, "__SHEET__": "Ark 1", "__IMTINDEX__": 3},
    ]
    with Receiver() as hook:
        files = written(
            rig, "make", "--variant", "sheet", "--template", "rows", "--with-key", "--webhook", hook.url("/make")
        )
        submit = Player(files["make-sheet-submit.json"])
        output = submit.run({"rows": rows, "collectionId": "june"})
        again = submit.run({"rows": rows, "collectionId": "june"})
        [callback] = hook.wait_for(1)

    assert [row["metadata"]["line"] for row in callback.json["results"]] == [2, 5, 9]
    assert (output[4]["statusCode"], again[4]["data"]["duplicate"]) == (202, True)
    player = Player(files["make-sheet-receive.json"])
    with pytest.raises(Failed, match="june partial: 1 of 3 rows failed"):
        player.run(callback.json)
    assert [number for number, _ in player.log] == [5, 6, 5, 20]

    fetching = Player(files["make-sheet-receive.json"])
    with pytest.raises(Failed):
        fetching.run({**callback.json, "results": None, "resultsTruncated": True})
    assert [number for number, _ in fetching.log] == [10, 13, 14, 13, 20]
    assert rig.http.get(f"{rig.url}/api/collections/june").json()["acked"]


def test_a_leftover_placeholder_is_refused_with_the_cure(rig: Rig) -> None:
    files = written(rig, "make", "--with-key")

    with pytest.raises(Failed, match="webhookUrl") as refused:
        Player(files["make-submit.json"]).run({"prompt": "Hei"})

    assert refused.value.status == 400


def test_the_command_refuses_what_it_cannot_do(rig: Rig, tmp_path: Path) -> None:
    """No URL, an unknown name, existing files: each a message, its exit code, and nothing written."""
    empty = tmp_path / "empty"
    nowhere = rig.command("blueprint", "make", "-o", str(empty), RELAY_PUBLIC_URL="")
    group = rig.command("blueprint", "n8n", "--group", "to ord", "-o", str(empty))
    remote = rig.command("blueprint", "n8n", "--with-key", "-o", str(empty), RELAY_URL=rig.url)
    prompt = rig.command("blueprint", "make", "--template", "faktura", "-o", str(empty))
    template = rig.command("blueprint", "n8n", "--variant", "invoice", "--template", "to ord", "-o", str(empty))
    written(rig, "make")
    there = rig.command("blueprint", "make", "-o", str(rig.folder / "scenarios"))

    assert [
        (item.returncode, word in item.stderr)
        for item, word in zip(
            (nowhere, group, remote, prompt, template, there),
            ("RELAY_PUBLIC_URL", "--group", "--with-key", "--variant", "--template", "--force"),
            strict=True,
        )
    ] == [(2, True), (65, True), (78, True), (2, True), (65, True), (9, True)]
    assert not empty.exists()


@pytest.mark.parametrize("tool", ["make", "n8n"])
def test_the_messages_ask_for_a_key_only_if_the_files_have_none(rig: Rig, tool: str) -> None:
    """CASES N10: with `--with-key` the key is in the files, and no message asks to paste one."""
    blank = rig.command("blueprint", tool, "-o", "-")
    filled = rig.command("blueprint", tool, "-o", "-", "--with-key")

    assert "your API key" in blank.stderr and "placeholder" in blank.stderr
    assert "your API key" not in filled.stderr and "placeholder" not in filled.stderr
    assert "(submit, read) and filled it in" in filled.stderr


def test_the_scenarios_go_through_a_pipe(rig: Rig) -> None:
    """`-o -`: one JSON object per line on stdout; messages on stderr name the files and the template of the variant."""
    output = rig.command("blueprint", "make", "-o", "-")

    assert [json.loads(line)["name"] for line in output.stdout.splitlines()] == ["Claude: submit", "Claude: receive"]
    assert "Import blueprint" in output.stderr

    messages = rig.command("blueprint", "make", "--variant", "invoice", "--template", "bilag", "-o", "-").stderr
    words = ("make-invoice-receive.json", "make-invoice-submit.json", "the folder", "template save bilag FILE")
    assert all(word in messages for word in words)


def test_the_n8n_import_guide_does_not_mention_make(rig: Rig) -> None:
    """A URL without TLS matters to both; the fields of Make do not."""
    output = [
        rig.command("blueprint", tool, "--url", "http://r.example.com", "-o", "-").stderr for tool in ("make", "n8n")
    ]

    assert ["is not encrypted" in item for item in output] == [True, True]
    assert ["Make requires" in item for item in output] == [True, False]
