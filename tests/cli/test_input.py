"""Input and output of the command line: files, pipes, encodings, closed streams, and text that drives terminals."""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.cli.client import http
from claude_relay.cli.render.output import Output, clean
from claude_relay.config import Settings
from claude_relay.services import Relay
from tests.support.builders import a_completion, a_submission
from tests.support.live_api import serving
from tests.support.pdfs import a_pdf

Run = Callable[..., tuple[int, str, str]]
PROGRAM = [sys.executable, "-m", "claude_relay"]


def stdin_of(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def prompt_of(printed: tuple[int, str, str]) -> Any:
    code, out, err = printed
    assert code == 0, err
    return json.loads(out)["prompt"]


def test_a_byte_order_mark_and_line_ends_do_not_reach_claude(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CASES F16, F17: by -f, stdin and argument; lines inside keep their ends."""
    (tmp_path / "p.txt").write_bytes("\ufeffBlåbær\r\nog øl\r\n".encode())
    assert prompt_of(run("submit", "--dry-run", "-f", "p.txt")) == "Blåbær\r\nog øl"
    stdin_of(monkeypatch, "\ufeffBlåbær\r\n".encode())
    assert prompt_of(run("submit", "--dry-run", "-")) == "Blåbær"
    stdin_of(monkeypatch, b"Hei\n")
    assert prompt_of(run("submit", "--dry-run", "-f", "-")) == "Hei"
    assert prompt_of(run("submit", "--dry-run", "\ufeffHei")) == "Hei"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_65_with_the_cure(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """CASES F16, F17"""
    data = "Blåbær og øl".encode(encoding)
    (tmp_path / "p.txt").write_bytes(data)
    stdin_of(monkeypatch, data)
    argument = os.fsdecode("Blåbær".encode("latin-1"))
    for args in (("-f", "p.txt"), ("-",), (argument,), ("-s", argument, "Hei")):
        code, out, err = run("submit", "--dry-run", *args)
        assert (code, out) == (65, ""), args
        assert "save it as UTF-8" in err


def test_a_template_in_another_encoding_is_refused(run: Run, relay: Relay, tmp_path: Path) -> None:
    """CASES F16: its letters were replaced, in every job that used it."""
    (tmp_path / "t.txt").write_bytes("Blåbær {{a}}".encode("latin-1"))
    code, _, err = run("template", "save", "t", "t.txt")
    assert (code, "save it as UTF-8" in err) == (65, True), err

    (tmp_path / "t.txt").write_bytes("\ufeffBlåbær {{a}}\r\n".encode())
    assert run("template", "save", "t", "t.txt")[0] == 0
    assert json.loads(run("template", "show", "t")[1]) == {"prompt": "Blåbær {{a}}"}


def test_a_file_may_come_from_stdin_or_a_pipe(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES F27: `-a -`, and `-a <(…)`, also where the writer is slow."""
    pdf = a_pdf()
    stdin_of(monkeypatch, pdf)
    code, out, _ = run("submit", "--dry-run", "-a", "-", "Les")
    assert (code, json.loads(out)["files"]) == (0, [{"data": base64.b64encode(pdf).decode()}])

    reader, writer = os.pipe()
    thread = threading.Timer(0.2, lambda: (os.write(writer, pdf), os.close(writer)))
    thread.start()
    code, out, _ = run("submit", "--dry-run", "-a", f"/dev/fd/{reader}", "Les")
    thread.join()
    os.close(reader)
    assert base64.b64decode(json.loads(out)["files"][0]["data"]) == pdf

    code, _, err = run("submit", "--dry-run", "-a", "-", "-")
    assert (code, "can be read once" in err) == (2, True)


def test_a_source_that_never_ends_or_never_begins_is_refused(run: Run, tmp_path: Path) -> None:
    """CASES S17, F27: a device, a FIFO without a writer, an empty file, a folder."""
    (tmp_path / "empty.pdf").touch()
    os.mkfifo(tmp_path / "fifo")
    for source, words in (
        ("/dev/zero", "is a device, not a file"),
        ("fifo", "is a pipe to which nothing was written"),
        ("empty.pdf", "empty.pdf is an empty file"),
        (".", "cannot be read: Is a directory"),
        ("nowhere.pdf", "cannot be read: No such file"),
    ):
        code, _, err = run("submit", "--dry-run", "-a", source, "Les")
        assert (code, words in err) == (65, True), err
    for option in ("-f", "--from-json", "--schema", "--jsonl"):
        code, _, err = run("submit", "--dry-run", option, "/dev/zero", "Les")
        assert (code, "is a device" in err) == (65, True), err


def test_a_password_in_the_url_of_a_file_is_refused_in_words_about_files(run: Run, relay: Relay) -> None:
    """CASES F27"""
    code, _, err = run("submit", "-a", "https://user:pw@example.com/a.pdf", "Les")

    assert (code, "webhook" in err, "files[0].url" in err) == (65, False, True), err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_answer_is_shown_whatever_the_encoding_of_stdout(relay: Relay, store: Path, encoding: str) -> None:
    """CASES F19: characters that it cannot carry are replaced, in JSON they are escaped."""
    relay_job(relay, "Blåbær – 🫐")
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).parents[2])}
    shown = subprocess.run([*PROGRAM, "result", "r"], env=env, capture_output=True, timeout=100)
    as_json = subprocess.run([*PROGRAM, "result", "r", "--json"], env=env, capture_output=True, timeout=100)

    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.decode(encoding).strip() == ("Bl?b?r ? ?" if encoding == "ascii" else "Blåbær ? ?")
    assert json.loads(as_json.stdout)["response"] == "Blåbær – 🫐"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(relay: Relay, store: Path, closed: str) -> None:
    """CASES F18: as under some supervisors and cron; nothing else takes its number."""
    relay_job(relay, "Hei")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    program = shlex.join(PROGRAM)  # its path may have blanks
    command = f"{program} submit Hei {closed} && {program} result r {closed}"
    done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, timeout=100)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Hei\n") is (">&-" not in closed)


def relay_job(relay: Relay, text: str) -> None:
    relay.submit(a_submission("r", webhook_url=None))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion(text))


def test_marks_of_direction_and_line_separators_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """CASES S17: also not through a pipe of JSON, where they are escaped and stay what they are."""
    odd = "a\u202eb\u2066c\u2028d\x9b31me\u200ff\x07\x7f"
    assert clean(odd) == "abcd31mef"
    Output().value({"text": odd})
    printed = capsys.readouterr().out

    assert json.loads(printed) == {"text": odd}
    assert not any(ord(character) > 126 for character in printed)


@pytest.fixture
def plain_port() -> Iterator[int]:
    """A port that accepts connections and answers nothing, as one that waits for the rest of a request."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_https_to_the_plain_port_is_named_at_once(run: Run, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES F20"""
    settings = Settings(api_secret_key="some-key-of-a-relay")
    app = make_app(relay, settings, intake=wiring.intake_context(settings, relay))
    with serving(app, settings) as (host, port):
        monkeypatch.setenv("RELAY_URL", f"https://{host}:{port}")
        monkeypatch.setenv("RELAY_API_KEY", "some-key-of-a-relay")
        code, _, err = run("list")

    assert (code, "http://127.0.0.1" in err, "no https (TLS) is spoken there" in err) == (69, True, True), err


def test_https_to_a_silent_port_ends_in_time(
    run: Run, monkeypatch: pytest.MonkeyPatch, plain_port: int, store: Path
) -> None:
    """CASES F20: 181 s of silence became one attempt with a time limit, at other servers than the relay's, too."""
    monkeypatch.setattr(http, "_CONNECT_TIMEOUT", 0.3)
    monkeypatch.setenv("RELAY_URL", f"https://127.0.0.1:{plain_port}")
    monkeypatch.setenv("RELAY_API_KEY", "some-key-of-a-relay")
    code, _, err = run("list")

    assert (code, "use http:// instead of https://" in err) == (69, True), err


@pytest.mark.parametrize("option", ["--schema", "--from-json", "--jsonl"])
def test_a_file_that_is_no_json_is_named_with_its_option(run: Run, tmp_path: Path, option: str) -> None:
    """And with the line; the first line of the file is whole."""
    (tmp_path / "cut.json").write_text(
        '{"prompt":\n"a\n' if option != "--jsonl" else '{"prompt": "a"}\n{"prompt": "b\n'
    )
    code, _, err = run("submit", "--dry-run", option, "cut.json", "Les" if option == "--schema" else "-u")

    assert (code, f"{option} cut.json is not valid JSON: at line 2" in err) == (65, True), err


def test_a_file_of_another_kind_does_not_fill_the_terminal(run: Run, tmp_path: Path) -> None:
    """Twenty problems are shown, and the number of the others, of which a hundred are counted."""
    (tmp_path / "a.csv").write_text("a,b\n" + "1\n" * 500)
    code, _, err = run("table", "submit", "a.csv", "--prompt", "{{a}}")

    assert (code, len(err.splitlines())) == (65, 21), err
    assert "(row 20, line 21)" in err and "and 80 more problems" in err


def test_a_misspelt_verb_is_named(run: Run) -> None:
    code, _, err = run("serch", "Les")

    assert (code, "Did you mean 'search'?" in err) == (2, True), err


def test_a_file_name_of_any_bytes_is_read(run: Run, tmp_path: Path) -> None:
    """CASES F16, F27: a name in Latin-1 is no fault of the file; what is sent of it is text."""
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")
    Path(name).write_text("Blåbær", encoding="utf-8")
    code, out, err = run("submit", "--dry-run", "-f", name, "-a", name)

    assert code == 0, err
    body = json.loads(out)
    assert (body["prompt"], body["files"][0]["name"]) == ("Blåbær", "caf\ufffd.txt")
    assert run("submit", "--dry-run", "-a", "https://x.example/caf\udce9", "hei")[0] == 65


def test_an_output_file_that_cannot_be_written_is_named(run: Run, relay: Relay, tmp_path: Path) -> None:
    """CASES F27: exit 65 and a sentence; a table is not submitted, so that no answer is paid for."""
    relay.submit(a_submission("done"))
    relay.execution.complete(relay.execution.claim("w", limit=1)[0], a_completion("Svar"))
    (tmp_path / "in.csv").write_text("text\nx\n", encoding="utf-8")
    table = ("table", "submit", "in.csv", "--prompt", "Les {{text}}", "--id", "t-1", "--wait", "-o")
    for verb in (("result", "done", "-o"), table):
        code, _, err = run(*verb, "nowhere/out.csv")
        assert (code, "nowhere/out.csv cannot be written" in err) == (65, True), err

    assert run("table", "status", "t-1")[0] == 3
    assert run("result", "done", "-o", "out.txt")[0] == 0
    assert (tmp_path / "out.txt").read_text() == "Svar"
    assert run("result", "done", "-o", "/dev/null")[0] == 0 and Path("/dev/null").is_char_device()


def test_the_name_of_a_missing_file_is_printed_without_escapes(run: Run) -> None:
    """CASES S17, a sibling: in the errors of the option parser, too; a folder may have files of other people."""
    code, _, err = run("table", "submit", "a\x1b[2J\x9b\u202eb.csv", "--prompt", "x")

    assert code == 2 and "b.csv" in err
    assert not set("\x1b\x9b\u202e") & set(err)
