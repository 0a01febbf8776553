"""Pipes, terminals, exit codes and imports of the command line, as real processes."""

from __future__ import annotations

import json
import os
import pty
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from claude_relay import wiring
from claude_relay.cli.main import VERBS, cli, main
from claude_relay.cli.summaries import SUMMARIES
from claude_relay.config import Settings, load
from tests.support.builders import a_submission

ROOT = Path(__file__).parents[2]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "RELAY_STORE": str(tmp_path / "relay.db"),
    }


def relay_command(*args: str, env: dict[str, str], cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "claude_relay", *args]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=100, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_help(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert verb in capsys.readouterr().out


@pytest.mark.parametrize("args", [("--help",), ("status",), ("submit", "--help"), ("list",)])
def test_the_command_line_never_imports_the_sdk(args, env, tmp_path):
    """`--help` and `status` start without noticeable delay."""
    with wiring.open_relay(Settings(store=f"sqlite:///{env['RELAY_STORE']}"), create=True):
        pass
    code = (
        "import sys; from claude_relay.cli.main import main; main(sys.argv[1:]);"
        "heavy = {'anthropic', 'falcon', 'requests', 'waitress'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], env=env, cwd=tmp_path, capture_output=True, text=True)

    assert done.stderr.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_141_without_a_message(env, tmp_path):
    with wiring.open_relay(Settings(store=f"sqlite:///{env['RELAY_STORE']}"), create=True) as relay:
        relay.submit_many([a_submission() for _ in range(300)])
    command = f"{shlex.quote(sys.executable)} -m claude_relay"
    script = f'{command} list --limit 300 --json | head -1; echo "${{PIPESTATUS[0]}}" >&2'
    done = subprocess.run(["bash", "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=100)

    assert json.loads(done.stdout)["status"] == "pending"
    assert done.stderr == "141\n"


@pytest.mark.parametrize("args", [["--help"], ["list"], ["list", "--json"]])
def test_an_output_on_a_full_disk_is_one_sentence(env, tmp_path, args):
    """Siblings of CASES F16: stdout is a file on a disk without space."""
    with wiring.open_relay(Settings(store=f"sqlite:///{env['RELAY_STORE']}"), create=True) as relay:
        relay.submit(a_submission())
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "claude_relay", *args]
        done = subprocess.run(
            command, env=env, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=100
        )

    assert done.stderr == "claude-relay: the output cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_a_missing_store_is_69_with_the_fix(env, tmp_path):
    done = relay_command("status", env=env, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (69, "")
    assert "claude-relay serve" in done.stderr


def test_an_unreachable_relay_is_69_with_the_fix(env, tmp_path):
    done = relay_command("--url", "http://127.0.0.1:9", "status", env={**env, "RELAY_API_KEY": "k" * 20}, cwd=tmp_path)

    assert done.returncode == 69
    assert "Is the API running?" in done.stderr


def test_wrong_settings_are_78_with_a_message_each(env, tmp_path):
    done = relay_command("serve", env={**env, "PORT": "x", "RELAY_LEASSE": "1s"}, cwd=tmp_path)

    assert done.returncode == 78
    assert "PORT" in done.stderr and "RELAY_LEASE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_78_and_names_it(env, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = relay_command("serve", env={**env, "PORT": port, "API_SECRET_KEY": "k" * 20}, cwd=tmp_path)

    assert done.returncode == 78
    assert f"PORT {port}" in done.stderr


@pytest.mark.parametrize("length", [23, 24])
def test_a_short_admin_key_is_warned_of_at_the_start(env, tmp_path, length):
    """CASES C9, S15: under 24 characters; the log does not contain the key."""
    key = "q" * length
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        production = {"RELAY_ENV": "production", "RELAY_PROVIDER": "sandbox"}
        done = relay_command("serve", env={**env, **production, "PORT": port, "API_SECRET_KEY": key}, cwd=tmp_path)

    output = done.stdout + done.stderr
    assert ("API_SECRET_KEY can be guessed" in output) == (length < 24)
    assert key not in output


def test_an_unknown_verb_is_2_with_a_suggestion(env, tmp_path):
    done = relay_command("submitt", env=env, cwd=tmp_path)

    assert done.returncode == 2
    assert "submit" in done.stderr


def test_errors_are_json_with_the_json_option(env, tmp_path):
    with wiring.open_relay(Settings(store=f"sqlite:///{env['RELAY_STORE']}"), create=True):
        pass
    done = relay_command("status", "nobody", "--json", env=env, cwd=tmp_path)
    [line] = done.stderr.splitlines()

    assert (done.returncode, done.stdout) == (3, "")
    assert json.loads(line)["exitCode"] == 3


def test_stdin_is_the_prompt_and_comes_before_the_argument(env, tmp_path):
    with wiring.open_relay(Settings(store=f"sqlite:///{env['RELAY_STORE']}"), create=True):
        pass

    def prompt(*args: str, input: str | None) -> str:
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        return json.loads(relay_command("submit", "--dry-run", *args, env=env, cwd=tmp_path, **stdin).stdout)["prompt"]

    assert prompt(input="from a pipe\n") == "from a pipe"
    assert prompt("-", input="from a pipe\n") == "from a pipe"
    assert prompt("an argument", input="from a pipe\n") == "from a pipe\n\nan argument"
    assert prompt("an argument alone", input=None) == "an argument alone"


@pytest.mark.parametrize("extra", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_gets_a_table_and_colours_unless_disabled(env, tmp_path, extra):
    with wiring.open_relay(Settings(store=f"sqlite:///{env['RELAY_STORE']}"), create=True) as relay:
        relay.submit(a_submission("r-1", request={"prompt": "x"}))
    main_end, other = pty.openpty()
    command = [sys.executable, "-m", "claude_relay", "list"]
    terminal_env = {**env, "TERM": "xterm-256color", "COLUMNS": "120", **extra}
    process = subprocess.Popen(command, env=terminal_env, cwd=tmp_path, stdout=other, stderr=other, stdin=other)
    os.close(other)
    text = b""
    try:
        while part := os.read(main_end, 65536):
            text += part
    except OSError:
        pass
    assert process.wait(60) == 0
    assert b"r-1" in text
    assert (b"\x1b[" in text) == (not extra)


def test_submit_on_a_terminal_without_a_prompt_prints_the_usage(env, tmp_path):
    main_end, other = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "claude_relay", "submit"],
        env=env, cwd=tmp_path, stdin=other, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    os.close(main_end)
    os.close(other)

    assert done.returncode == 2
    assert "There is no prompt" in done.stderr


def test_config_show_hides_secrets_and_shows_origins(env, tmp_path):
    done = relay_command(
        "config", "show", "--origin", env={**env, "API_SECRET_KEY": "very-secret-indeed"}, cwd=tmp_path
    )

    assert done.returncode == 0
    assert "very-secret-indeed" not in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("API_SECRET_KEY\t")]
    assert line.endswith("the environment")


def test_config_init_writes_a_file_that_lacks_only_the_anthropic_key(env, tmp_path):
    assert relay_command("config", "init", env=env, cwd=tmp_path).returncode == 0
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert relay_command("config", "init", env=env, cwd=tmp_path).returncode == 9
    done = relay_command("config", "check", env=env, cwd=tmp_path)
    assert done.returncode == 78
    assert "ANTHROPIC_API_KEY" in done.stderr and "API_SECRET_KEY" not in done.stderr


@pytest.mark.parametrize("verb", [("config", "check", "--no-keys"), ("serve",), ("status",)])
def test_a_store_without_its_driver_is_refused_by_every_verb(verb, env, tmp_path):
    """A PostgreSQL URL without psycopg."""
    (tmp_path / "psycopg.py").write_text("raise ModuleNotFoundError('No module named psycopg', name='psycopg')\n")
    extra = {"RELAY_STORE": "postgresql://db/relay", "API_SECRET_KEY": "k", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = relay_command(*verb, env={**env, **extra}, cwd=tmp_path)

    assert done.returncode == 78
    assert "pip install 'claude-relay[postgres]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", [("serve",), ("worker",), ("status",), ("submit", "Hei"), ("migrate",), ("purge",)])
def test_an_unreachable_server_is_reported_without_its_password(verb, env, tmp_path):
    url = "postgresql://relay:s3cret-word@127.0.0.1:1/relay"
    extra = {"RELAY_STORE": url, "API_SECRET_KEY": "k", "RELAY_PROVIDER": "sandbox", "STATE_DIRECTORY": str(tmp_path)}
    done = relay_command(*verb, env={**env, **extra}, cwd=tmp_path)

    assert done.returncode == 69
    assert "the store postgresql://relay@127.0.0.1:1/relay is out of reach" in done.stderr
    assert "s3cret-word" not in done.stderr + done.stdout and "Traceback" not in done.stderr


def test_config_init_generates_different_strong_keys(env, tmp_path):
    keys = []
    for name in ("one", "two"):
        assert relay_command("config", "init", name, env=env, cwd=tmp_path).returncode == 0
        settings = load({}, dotenv=tmp_path / name, etc=None)
        keys += [settings.api_secret_key, *settings.webhook_secret]

    assert len({*keys}) == 4 and all(len(secret) >= 40 for secret in keys)


def test_config_init_system_separates_secrets_and_keeps_existing_files(env, tmp_path):
    etc = tmp_path / "etc"
    first = relay_command("config", "init", "--system", str(etc), env=env, cwd=tmp_path)
    key = (etc / "credentials" / "API_SECRET_KEY").read_text()
    (etc / "claude-relay.env").write_text("PORT=4000\n")
    again = relay_command("config", "init", "--system", str(etc), env=env, cwd=tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in etc.rglob("*") if path.is_file()}
    secrets = {path.name for path in (etc / "credentials").iterdir()}

    assert first.returncode == again.returncode == 0
    assert secrets == {"API_SECRET_KEY", "RELAY_WEBHOOK_SECRET", "ANTHROPIC_API_KEY"}
    assert modes == {"claude-relay.env": 0o640, **dict.fromkeys(secrets, 0o600)}
    assert (etc / "claude-relay.env").read_text() == "PORT=4000\n"
    assert (etc / "credentials" / "API_SECRET_KEY").read_text() == key
    assert "exists already; not changed" in again.stderr


def test_the_settings_of_a_system_hold_no_secret_and_are_for_production(env, tmp_path):
    relay_command("config", "init", "--system", "etc", env=env, cwd=tmp_path)
    settings = load({}, dotenv=None, etc=tmp_path / "etc" / "claude-relay.env")

    assert settings.secrets() == () and settings.production


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(env, tmp_path, shell):
    done = relay_command("completion", shell, env=env, cwd=tmp_path)

    assert done.returncode == 0
    assert "_CLAUDE_RELAY_COMPLETE" in done.stdout


def test_doctor_names_a_fix_for_each_fault(env, tmp_path):
    done = relay_command("doctor", "--json", env=env, cwd=tmp_path)
    findings = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 1
    assert all(item["mend"] for item in findings if item["result"] != "ok")
    assert {"upstream", "api key", "store"} <= {item["check"] for item in findings if item["result"] == "fail"}


def test_keys_are_shown_once_listed_and_revoked(env, tmp_path):
    added = relay_command(
        "keys", "add", "make", "--scope", "submit", "--budget", "5", "--rate", "10/1m", env=env, cwd=tmp_path
    )
    [key] = added.stdout.splitlines()
    listed = relay_command("keys", "list", env=env, cwd=tmp_path).stdout

    assert key.startswith("crk_")
    assert listed.split("\t")[0] == "make" and key not in listed
    assert relay_command("keys", "add", "make", env=env, cwd=tmp_path).returncode == 9
    assert relay_command("keys", "add", "b", "--scope", "submit,read", env=env, cwd=tmp_path).returncode == 0
    assert "read,submit" in relay_command("keys", "list", env=env, cwd=tmp_path).stdout
    assert relay_command("keys", "revoke", "make", env=env, cwd=tmp_path).returncode == 0
    assert relay_command("keys", "revoke", "nobody", env=env, cwd=tmp_path).returncode == 3


def test_the_list_of_verbs_has_their_own_sentences() -> None:
    """`--help` imports no verb, so that it is printed at once; its sentences must be those of the verbs."""
    context = click.Context(cli)
    commands = {verb: cli.get_command(context, verb) for verb in VERBS}
    own = {verb: command.get_short_help_str(300) for verb, command in commands.items() if command is not None}

    assert dict(SUMMARIES) == own
    assert list(SUMMARIES) == list(VERBS)


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], ("claude_relay.cli.verbs", "claude_relay.services", "claude_relay.core", "claude_relay.config")),
        (["status", "--help"], ("claude_relay.events", "claude_relay.services", "persistqueue", "requests", "falcon")),
    ],
)
def test_help_imports_little(arguments: list[str], absent: tuple[str, ...]) -> None:
    """Start-up is most of the time of a verb: what it does not need stays out."""
    code = (
        "import sys; from claude_relay.cli.main import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=100)

    modules = done.stderr.split()
    assert "click" in modules
    assert [name for name in modules if name.startswith(absent)] == []


def test_status_of_a_job_imports_and_opens_little(store: Path, tmp_path: Path) -> None:
    """It reads one row: no use case that writes, no queue, no collections, no terminal tables; and no lock is taken."""
    assert main(["migrate"]) == 0
    assert main(["submit", "--id", "r-1", "Hei"]) == 0
    store.with_name("relay.db.lock").unlink()
    code = "import sys; from claude_relay.cli.main import main; main(['status', 'r-1']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, cwd=tmp_path)
    modules = set(done.stdout.split())

    absent = ("submit", "collections", "execution", "deliveries", "maintenance", "batches", "clock_step")
    assert "claude_relay.services.queries" in modules
    assert modules.isdisjoint(f"claude_relay.services.{name}" for name in absent)
    assert modules.isdisjoint({"claude_relay.core.intake", "claude_relay.storage.group_commit", "persistqueue", "rich"})
    assert modules.isdisjoint({"claude_relay.core.templates", "claude_relay.core.money.estimate", "unicodedata"})
    assert modules.isdisjoint({"logging", "traceback", "_hashlib"})  # the last one is OpenSSL
    assert not store.with_name("relay.db.lock").exists()
