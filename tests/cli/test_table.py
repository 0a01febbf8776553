"""The verb `table`, on this machine and over HTTP."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.cli.render.progress import ProgressLine
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.services import CollectionRef, Relay
from tests.support.builders import a_completion, a_failure
from tests.support.eventually import eventually


@pytest.fixture
def template(run, tmp_path: Path) -> None:
    file = tmp_path / "les.txt"
    file.write_text("Les {{text}}", encoding="utf-8")
    assert run("template", "save", "les", str(file))[0] == 0


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "june.csv"
    path.write_text("nr;text\r\n1;blå\r\n2;grønn\r\n", encoding="utf-8")
    return path


@pytest.fixture
def worker(relay: Relay) -> Iterator[Any]:
    """Runs rows as they come; rows with a number in the set fail."""
    failing: set[int] = set()
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            for item in relay.execution.claim("w", limit=50):
                if item.job.row in failing:
                    relay.execution.fail(item, a_failure(ErrorType.REFUSED, Remedy.FAIL))
                else:
                    relay.execution.complete(item, a_completion(f"Svar {item.request.request['prompt']}"))

    thread = threading.Thread(target=work)
    thread.start()
    yield failing
    stop.set()
    thread.join(60)


def test_a_table_in_and_a_table_out(where, run, template, table: Path, worker, tmp_path: Path) -> None:
    """`--wait` writes the results; the input's columns come first."""
    out = tmp_path / "out.csv"
    code, _, err = run("table", "submit", str(table), "-t", "les", "--id", "june", "--wait", "-o", str(out))
    lines = out.read_text(encoding="utf-8").splitlines()

    assert (code, "2 completed" in err) == (0, True)
    assert lines[0] == "nr,text,response,requestId,status,error,costUsd"
    assert lines[1] == "1,blå,Svar Les blå,june:1,completed,,0.001"
    assert run("table", "submit", str(table), "-t", "les", "--id", "june")[:2] == (0, "june\n")
    [row] = run("table", "list")[1].splitlines()
    assert row.split("\t")[:5] == ["june", "completed", "2", "2", "0"]
    excel = run("table", "results", "june", "--format", "excel")[1]
    assert excel.startswith("\ufeff") and "1;blå;" in excel
    assert [
        json.loads(line)["row"] for line in run("table", "results", "june", "--format", "ndjson")[1].split("\n")[:2]
    ]
    assert json.loads(run("table", "results", "june", "--json")[1].split("\n")[1])["row"] == 2
    assert json.loads(run("table", "status", "june", "--json")[1])["completed"] == 2


def test_wait_exits_5_when_a_row_failed_and_retry_runs_it_again(where, run, table: Path, worker) -> None:
    worker.add(2)
    code, out, _ = run("table", "submit", str(table), "--prompt", "Les {{text}}", "--id", "j", "--wait")
    assert code == 5 and out.splitlines()[2].split(",")[4] == "failed"
    worker.clear()
    assert "Next: claude-relay table retry j --row 2 " in run("why", "j:2")[1]
    assert run("table", "retry", "j")[0] == 9  # not confirmed
    assert run("table", "retry", "j", "--yes")[0] == 0
    eventually(lambda: json.loads(run("table", "status", "j", "--json")[1])["status"] == "completed")
    assert run("table", "retry", "j", "--row", "1", "--yes")[0] == 0
    assert run("table", "status", "nope")[0] == 3


def test_a_collection_that_waits_says_why(where, run, template, table: Path) -> None:
    """In its status, and beside the progress of `--wait`: a pause, a drain, the spent budget of its key."""
    run("pause")
    code, _, err = run("table", "submit", str(table), "-t", "les", "--id", "j", "--wait", "--timeout", "1s")
    assert (code, err.count("j waits: paused")) == (124, 1)
    assert "j waits: paused" in run("table", "status", "j")[2]
    run("resume")
    assert json.loads(run("table", "status", "j", "--json")[1])["waitingFor"] is None


def test_wait_says_how_many_rows_have_failed_checks(where, run, table: Path, relay: Relay, tmp_path: Path) -> None:
    """They are completed, so the exit code is 0; a bookkeeper must look at them all the same."""
    body = {"prompt": "Les {{text}}", "options": {"outputSchema": {"type": "object"}, "checks": ["sum == 1"]}}
    (tmp_path / "checked.json").write_text(json.dumps(body))
    run("template", "save", "checked", str(tmp_path / "checked.json"))
    run("table", "submit", str(table), "-t", "checked", "--id", "j")

    def answer() -> bool:
        for item in relay.execution.claim("w", limit=2):
            value = {"sum": item.job.row}
            relay.execution.complete(item, a_completion(json.dumps(value), json=value))
        return relay.collections.show(CollectionRef(collection_id="j"))["status"] == "completed"

    eventually(answer, within=30)  # the wrong one is repaired once, after a pause
    code, out, err = run("table", "submit", str(table), "-t", "checked", "--id", "j", "--wait")

    assert code == 0 and "2 completed, 1 with failed checks, 0 failed" in err
    assert [line.split(",")[-2:] for line in out.splitlines()] == [
        ["checksFailed", "failedChecks"],
        ["0", ""],
        ["1", "sum == 1"],
    ]


def test_cancel_close_and_redeliver(where, run, relay, table: Path) -> None:
    run("table", "submit", str(table), "--prompt", "Les {{text}}", "--id", "j")
    assert run("table", "close", "j")[0] == 9
    assert run("table", "cancel", "j")[1].split("\t")[1] == "failed"
    assert run("table", "cancel", "j")[0] == 9
    assert run("table", "redeliver", "j")[0] == 9
    assert run("table", "redeliver", "j", "--to", "https://hook.example/x")[0] == 0


def test_a_folder_is_one_row_a_file_and_can_be_sent_again(where, run, relay, tmp_path: Path, monkeypatch) -> None:
    """In pieces; the same command after a break goes on where it ended, and adds nothing twice."""
    from claude_relay.cli import table_rows as verb

    folder = tmp_path / "invoices"
    folder.mkdir()
    for number in range(5):
        (folder / f"f{number}.txt").write_bytes(b"x" * 30)
    monkeypatch.setattr(verb, "_PIECE", 100)
    real, sent = verb._split, []

    def broken(rows: Any) -> Iterator[Any]:
        for piece in real(rows):
            if len(sent) == 2:
                raise ConnectionError
            sent.append(piece)
            yield piece

    monkeypatch.setattr(verb, "_split", broken)
    command = ("table", "submit", "--files", str(folder), "--prompt", "{{name}}: {{file}}")
    assert run(*command)[0] == 1
    monkeypatch.setattr(verb, "_split", real)
    code, out, _ = run(*command)
    name = out.strip()
    status = json.loads(run("table", "status", name, "--json")[1])

    assert (code, status["total"], status["status"]) == (0, 5, "pending")
    assert name.startswith("invoices-") and run(*command)[1].strip() == name
    assert json.loads(run("status", f"{name}:3", "--json")[1])["status"] == "pending"


def test_dry_run_sends_nothing(where, run, template, table: Path) -> None:
    """It shows the first row's body; a placeholder without a column is bad input."""
    code, out, err = run("table", "submit", str(table), "-t", "les", "--dry-run")

    assert code == 0 and json.loads(out)["first"] == {"prompt": "Les blå"} and json.loads(out)["rows"] == 2
    assert "estimate: 2 rows" in err
    assert run("table", "submit", str(table), "--prompt", "{{tekst}}", "--dry-run")[0] == 65
    assert run("table", "list")[1] == ""


@pytest.mark.parametrize(
    "arguments",
    [("-t", "les"), ("june.csv",), ("june.csv", "-t", "a", "--prompt", "b"), ("june.csv", "-t", "a", "-o", "x")],
)
def test_a_wrong_call_is_a_usage_error(run, relay, table: Path, arguments: tuple[str, ...], monkeypatch) -> None:
    monkeypatch.chdir(table.parent)

    assert run("table", "submit", *arguments)[0] == 2


def test_the_progress_line_counts_and_estimates() -> None:
    """Done, failed, spent, and the time left at the pace so far."""
    now = [0.0]
    line = ProgressLine(plain=True, clock=lambda: now[0])
    status = {"total": 100, "completed": 10, "failed": 0, "costUsd": None}
    assert line.text(status) == "[##......................] 10 of 100 done, 0 failed"
    now[0] = 10.0
    status |= {"completed": 18, "failed": 2, "costUsd": 0.5}
    assert line.text(status) == "[####....................] 20 of 100 done, 2 failed, $0.5000 spent, 80 s left"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"nr,text\n1,a\n\n2,\xe5\n", ("byte 16, line 4", "--charset windows-1252")),
        (b"nr;other\n1;a\n", ("rows[0].text is missing", "the row's columns are nr, other", "(row 1, line 2)")),
        (b'nr;text\n1;"a\nb"\n2;' + b"x" * (2**20 + 1) + b"\n", ("rows[1].text", "1,048,577 bytes", "(row 2, line 4)")),
        (b"text\n" + b"a\n" * 10_001, ("more than 10,000 rows", "split the file")),
    ],
)
def test_a_bad_table_is_named_by_row_line_and_column(
    where, run, template, relay: Relay, tmp_path: Path, data: bytes, words: tuple[str, ...]
) -> None:
    """With the remedies of the command line; nothing is kept."""
    (tmp_path / "bad.csv").write_bytes(data)
    code, out, err = run("table", "submit", str(tmp_path / "bad.csv"), "-t", "les")

    assert (code, out) == (65, "")
    assert [word for word in words if word not in err] == []
    assert relay.collections.all(owner=None)[0] == []


def test_no_half_of_a_table_is_run_where_a_piece_is_refused(where, run, relay, tmp_path: Path, monkeypatch) -> None:
    """In the first piece: nothing was made. In a later one: the rows before it are cancelled, and it is said."""
    monkeypatch.setattr("claude_relay.cli.table_rows._PIECE", 40)
    file = tmp_path / "long.csv"
    template = tmp_path / "t.json"
    template.write_text('{"prompt": "{{text}}", "options": {"maxTokens": "{{n}}"}}', encoding="utf-8")
    run("template", "save", "t", str(template))
    rows = [f"{'x' * 15},{number}" for number in range(1, 6)]
    command = ("table", "submit", str(file), "-t", "t", "--id", "j")

    file.write_text("\n".join(["text,n", f"{'x' * 15},0", *rows]), encoding="utf-8")
    code, _, err = run(*command)
    assert code == 65 and "(row 1, line 2)" in err
    assert run("table", "status", "j")[0] == 3

    file.write_text("\n".join(["text,n", *rows, f"{'x' * 15},0"]), encoding="utf-8")
    code, _, err = run(*command)
    assert (
        code == 65
        and "(row 6, line 7)" in err
        and "j: a row was refused, so the 4 rows before it were cancelled" in err
    )
    status = json.loads(run("table", "status", "j", "--json")[1])
    assert (status["status"], status["total"], status["failed"]) == ("failed", 4, 4)


def test_the_cost_as_csv_by_every_name_also_by_one_that_is_missing(where, run, template, relay: Relay) -> None:
    """CASES A14: jobs without a template, and a label that a spreadsheet would run."""
    assert run("submit", "-t", "les", "-v", "text", "x", "--id", "with")[0] == 0
    assert run("submit", "hei", "--id", "without")[0] == 0
    for item in relay.execution.claim("w", limit=2):
        relay.execution.complete(item, a_completion(model="=cmd()"))
    for by in ("key", "model", "group", "mode", "template", "day"):
        code, out, err = run("cost", "--by", by, "--csv")
        rows = list(csv.DictReader(out.splitlines()))

        assert code == 0, err
        assert sum(int(row["calls"]) for row in rows) == 2
        assert {row[by] for row in rows} >= {"template": {"", "les@1"}, "group": {"default"}}.get(by, set())
        assert not any(row[by].startswith("=") for row in rows)
