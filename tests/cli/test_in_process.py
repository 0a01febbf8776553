"""Verbs that other tests run as processes only: completion, listen, rotation, blueprints and the demo."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from claude_relay.cli.main import cli
from claude_relay.cli.render.output import Output
from claude_relay.cli.verbs import demo
from claude_relay.config.parsers import webhook_secrets
from claude_relay.core.deliveries.signing import encode_secret, sign
from claude_relay.core.keys import Scope
from claude_relay.errors import RelayError, TimedOut
from claude_relay.services import Relay
from tests.support.builders import a_submission
from tests.support.ports import free_port

Run = Callable[..., tuple[int, str, str]]
OLD = encode_secret(b"o" * 32)


@pytest.fixture
def complete(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[tuple[str, str | None]]]:
    """Completes a line as a shell asks for it, with three jobs and two keys in the store."""
    for request_id in ("invoice-1", "invoice-2", "a:colon"):
        relay.submit(a_submission(request_id, group="night"))
    for name in ("make", "n8n"):
        relay.keys.add(name, frozenset({Scope.SUBMIT}))
    relay.keys.revoke("n8n")

    def complete(line: str, shell: str = "zsh") -> list[tuple[str, str | None]]:
        monkeypatch.setenv("_CLAUDE_RELAY_COMPLETE", f"{shell}_complete")
        *words, last = line.split(" ")
        asked = ShellComplete(cli, {}, "claude-relay", "_CLAUDE_RELAY_COMPLETE")
        items: list[CompletionItem] = asked.get_completions(words, last)
        return [(item.value, item.help) for item in items]

    return complete


def test_ids_and_groups_are_completed_with_their_status(where: str, complete: Any) -> None:
    """CASES M12: from the store of this machine, and over HTTP."""
    assert complete("status inv") in (
        [("invoice-1", "pending"), ("invoice-2", "pending")],
        [("invoice-2", "pending"), ("invoice-1", "pending")],
    )
    assert complete("pause n") == [("night", None)]
    assert complete("pause x") == []


def test_bash_is_offered_no_id_with_a_colon(complete: Any) -> None:
    assert [value for value, _ in complete("status a", "zsh")] == ["a:colon"]
    assert complete("status a", "bash") == []


def test_keys_models_and_words_are_completed(complete: Any) -> None:
    """CASES M12: a revoked key is not offered."""
    assert complete("keys revoke ") == [("make", None)]
    assert ("smart", "claude-opus-5-5") in complete("submit --model s")
    assert [value for value, _ in complete("list --status pe")] == ["pending"]
    assert [value for value, _ in complete("list --error sch")] == ["schema"]
    assert complete("listen --status p") == []


@pytest.mark.parametrize("setting", [{"RELAY_STORE": "nowhere/x.db"}, {"RELAY_STORE": "bad://x"}, {"PORT": "x"}])
def test_a_fault_completes_to_nothing(complete: Any, setting: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES M12: a message would garble the line that is being typed."""
    for name, value in setting.items():
        monkeypatch.setenv(name, value)

    assert complete("status inv") == []


@pytest.mark.parametrize(
    ("shell", "words"),
    [("bash", "complete -o"), ("zsh", "compdef _claude_relay_completion claude-relay; "), ("fish", "complete ")],
)
def test_the_script_of_each_shell_is_printed(run: Run, shell: str, words: str) -> None:
    """CASES M12: zsh's registers the function again, as its autoload runs it only once."""
    code, out, _ = run("completion", shell)

    assert code == 0 and words in out and "_CLAUDE_RELAY_COMPLETE" in out


def posted(port: int, *requests: tuple[bytes, dict[str, str]]) -> threading.Thread:
    """Post to that port once somebody listens there."""

    def post() -> None:
        for body, headers in requests:
            while True:
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    client.request("POST", "/", body, headers)
                    client.getresponse().read()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
                finally:
                    client.close()

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    return thread


def test_listen_prints_each_callback_and_whether_its_signature_is_valid(
    store: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CASES M12: the head of a callback, its text, and a forged one; it ends after --count."""
    monkeypatch.setenv("RELAY_WEBHOOK_SECRET", OLD)
    body = json.dumps({"requestId": "r-1", "status": "completed", "response": "Svar\nto"}).encode()
    signed = sign("msg_1", time.time(), body, webhook_secrets(OLD))
    port = free_port()
    table = b'{"collectionId": "june", "status": "partial"}'
    table_signed = sign("msg_2", time.time(), table, webhook_secrets(OLD))
    posted(port, (body, signed), (body + b" ", signed), (b"no json", {}), (table, table_signed))
    code, out, err = run("listen", "--port", str(port), "--count", "4")

    heads = sorted(line.split("\t")[1:] for line in out.splitlines() if "\t" in line)
    assert code == 0 and f"http://127.0.0.1:{port}/" in err and "RELAY_ALLOW_PRIVATE_URLS" in err
    assert [head[:2] for head in heads] == [["?", "?"], ["june", "partial"], *[["r-1", "completed"]] * 2]
    assert [head[2].partition(":")[0] == "signature valid" for head in heads] == [False, True, False, True]
    assert "    Svar\n    to\n" in out and "    no json\n" in out


def test_listen_as_json_prints_the_body_and_nothing_else_on_stdout(store: Path, run: Run) -> None:
    port = free_port()
    posted(port, (b'{"a": 1}', {}))
    code, out, err = run("listen", "--port", str(port), "--count", "1", "--json")

    assert (code, out) == (0, '{"a": 1}\n') and "signature not checked" in err


def test_a_port_in_use_is_a_fault_of_the_configuration(store: Path, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = run("listen", "--port", str(taken.getsockname()[1]))

    assert code == 78 and "choose another" in err


def test_a_rotation_keeps_the_old_secret_until_it_is_finished(run: Run, relay: Relay, tmp_path: Path) -> None:
    """CASES M12: no second rotation and no end within the grace, but by force; other lines of the file stay."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"# ours\nRELAY_WEBHOOK_SECRET={OLD}  # since May\nLOG_LEVEL=info\n")
    code, out, err = run("keys", "webhook", "rotate", "--grace", "1h")
    new = out.strip()
    assert code == 0 and new.startswith("whsec_") and new not in err and "Both sign" in err
    assert dotenv.read_text() == f"# ours\nRELAY_WEBHOOK_SECRET={new},{OLD}  # since May\nLOG_LEVEL=info\n"
    both = dotenv.read_text()

    assert [run("keys", "webhook", verb)[0] for verb in ("rotate", "finish")] == [9, 9]
    assert dotenv.read_text() == both

    assert run("keys", "webhook", "finish", "--force")[0] == 0
    assert dotenv.read_text() == f"# ours\nRELAY_WEBHOOK_SECRET={new}  # since May\nLOG_LEVEL=info\n"
    assert run("keys", "webhook", "finish")[0] == 9
    assert run("keys", "webhook", "rotate", "--grace", "soon")[0] == 2


def test_a_forced_rotation_drops_the_older_of_two_secrets(run: Run, relay: Relay, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"RELAY_WEBHOOK_SECRET={OLD}\n")
    first = run("keys", "webhook", "rotate")[1].strip()
    code, out, _ = run("keys", "webhook", "rotate", "--force", "--json")

    assert code == 0
    assert dotenv.read_text() == f"RELAY_WEBHOOK_SECRET={json.loads(out)['secret']},{first}\n"


def test_blueprints_are_written_for_their_owner_and_never_over_others(run: Run, relay: Relay, tmp_path: Path) -> None:
    """CASES M12: a key is made last, and its file is private; a file that exists is left alone without --force."""
    url = ("--url", "https://r.example.com")
    code, out, err = run("blueprint", "make", *url, "-o", "s", "--with-key", "--key-name", "make")
    files = [tmp_path / line for line in out.splitlines()]
    assert code == 0 and len(files) == 2 and "Import blueprint" in err
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert any("crk_" in file.read_text() for file in files)
    [key] = relay.keys.all()
    assert (key.name, key.scopes) == ("make", {Scope.SUBMIT, Scope.READ})

    before = [file.read_text() for file in files]
    assert run("blueprint", "make", *url, "-o", "s", "--with-key")[0] == 9
    assert [file.read_text() for file in files] == before and len(relay.keys.all()) == 1
    assert run("blueprint", "make", *url, "-o", "s", "--force")[0] == 0
    assert {file.stat().st_mode & 0o777 for file in files} == {0o644}
    assert not any("crk_" in file.read_text() for file in files)


def test_a_blueprint_that_cannot_be_written_leaves_no_key_and_no_readable_remainder(
    run: Run, relay: Relay, tmp_path: Path
) -> None:
    """The folder is looked at before the key is made; what an interrupted run has left is not written into."""
    (tmp_path / "file").touch()
    url = ("--url", "https://r.example.com", "--with-key")
    code, _, err = run("blueprint", "n8n", *url, "-o", "file/s")
    assert (code, list(relay.keys.all())) == (65, []) and "--output" in err

    (tmp_path / ".n8n.json.part").touch(mode=0o644)
    assert run("blueprint", "n8n", *url, "-o", ".")[0] == 0
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*n8n.json*")} == {"n8n.json": 0o600}


def test_a_backup_to_a_folder_that_is_missing_is_an_error_of_the_file(run: Run, relay: Relay, tmp_path: Path) -> None:
    """The message names the file and its folder, and no fault of the store."""
    code, _, err = run("backup", "nowhere/copy.db")

    assert code == 65
    assert f"FILE {tmp_path}/nowhere/copy.db cannot be written: there is no folder {tmp_path}/nowhere" in err
    assert "the store" not in err


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        ((), 2, "RELAY_PUBLIC_URL"),
        (("--url", "ftp://x"), 65, "--url"),
        (("--url", "https://x.example", "--group", "to ord"), 65, "--group"),
        (("--url", "https://x.example", "--webhook", "nowhere"), 65, "--webhook"),
        (("--url", "https://x.example", "--template", "faktura"), 2, "--variant"),
        (("--url", "https://x.example", "--variant", "sheet", "--template", "to ord"), 65, "--template"),
    ],
)
def test_a_blueprint_that_would_not_work_is_not_written(
    run: Run, store: Path, tmp_path: Path, args: tuple[str, ...], code: int, word: str
) -> None:
    """CASES M12: the exit code and the option at fault, and no folder."""
    got, _, err = run("blueprint", "make", "-o", "empty", *args)

    assert got == code and word in err
    assert not (tmp_path / "empty").exists()


class DemoClient:
    """The relay of a demo, whose job took three seconds."""

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["webhookUrl"] == "http://127.0.0.1:1/callback"
        return {"requestId": "r-1"}

    def record(self, request_id: str) -> dict[str, Any]:
        events = [("submitted", 0), ("claimed", 1), ("completed", 3)]
        return {
            "events": [{"event": name, "at": f"2026-11-22T00:00:0{second}Z"} for name, second in events],
            "usage": {"input_tokens": 7, "output_tokens": 5},
            "model": "claude-sonnet-5-5",
        }


def a_demo(tmp_path: Path, callback: dict[str, Any], **fields: Any) -> demo._Run:
    callbacks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    callbacks.put(json.dumps(callback).encode())
    client: Any = DemoClient()
    return demo._Run(
        output=Output(**fields),
        folder=tmp_path,
        url="http://127.0.0.1:2",
        hook="http://127.0.0.1:1/callback",
        client=client,
        callbacks=callbacks,
    )


def test_the_demo_of_a_single_invoice_shows_its_steps_and_fields(tmp_path: Path, capsys: Any) -> None:
    """CASES M12: the times are those of the job's record."""
    a_demo(tmp_path, {"status": "completed", "json": {"fakturanummer": "F-7"}}).single()
    out, err = capsys.readouterr()

    assert "F-7" in out and "the sandbox" in err
    steps = [line.split() for line in err.splitlines() if " s  " in line]
    assert [step[2] for step in steps] == ["accepted", "claimed", "answered", "delivered"]
    assert (steps[1][0], steps[2][0]) == ("1.00", "3.00") and "7 tokens in, 5 out" in err


def test_the_demo_as_json_is_the_callback(tmp_path: Path, capsys: Any) -> None:
    callback = {"status": "completed", "json": {"fakturanummer": "F-7"}}
    a_demo(tmp_path, callback, json=True).single()

    assert json.loads(capsys.readouterr().out) == callback


def test_a_demo_that_fails_says_why(tmp_path: Path) -> None:
    """CASES M12: the error of its job, or the last lines of the logs of what did not come."""
    with pytest.raises(RelayError, match="no such model"):
        a_demo(tmp_path, {"status": "failed", "error": "no such model"}).single()

    (tmp_path / "worker.log").write_text("first\nthe reason\n")
    with pytest.raises(TimedOut, match=r"the callback(?s:.*)worker: the reason"):
        demo._wait_for(lambda: None, within=0.0, event="the callback", folder=tmp_path)


def test_the_demo_is_the_same_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES M12: no setting or key of this machine reaches its daemons."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-real")
    monkeypatch.setenv("RELAY_PROVIDER", "anthropic")
    environment = demo._environment(tmp_path, "k" * 32)

    assert environment["RELAY_PROVIDER"] == "sandbox" and "ANTHROPIC_API_KEY" not in environment
    assert environment["CLAUDE_RELAY_SETTINGS"] == "" and str(tmp_path) in environment["RELAY_STORE"]
