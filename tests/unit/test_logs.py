"""Logs: one event per line, no secrets, and no errors from logging."""

import io
import json
import logging
import os
import re
import socket
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from claude_relay import logs
from claude_relay.config import Settings
from claude_relay.core.text.redaction import Redactor
from claude_relay.errors import ConfigError
from claude_relay.logs.formats import JsonFormat
from claude_relay.logs.handlers import LineFileHandler, SafeHandler

log = logging.getLogger("claude_relay.test")

SETTINGS = Settings(
    env="production",
    log_level="debug",
    api_secret_key="correct-horse",
    webhook_secret=("whsec_" + "A" * 32,),
    store="postgresql://relay:batt%65ry-staple@db/relay",
)


@pytest.fixture(autouse=True)
def root():
    """The root logger, restored afterwards."""
    root = logging.getLogger()
    level, hook = root.level, threading.excepthook
    yield root
    for handler in [handler for handler in root.handlers if isinstance(handler, SafeHandler)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)
    threading.excepthook = hook


def with_(**changes):
    return Settings(**{"env": "production", "log_level": "debug", **changes})


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def test_an_event_is_one_json_line_with_the_node_services_keys(capsys):
    logs.setup(SETTINGS, "claude-relay-api")
    log.info("job %s", "accepted", extra={"requestId": "550e", "usage": {"input_tokens": 15}})

    [event] = events(capsys.readouterr().out)
    assert list(event) == ["timestamp", "level", "message", "service", "requestId", "usage"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("timestamp"))
    assert event == {
        "level": "info",
        "message": "job accepted",
        "service": "claude-relay-api",
        "requestId": "550e",
        "usage": {"input_tokens": 15},
    }


def test_an_extra_cannot_replace_a_standard_key(capsys):
    logs.setup(SETTINGS, "api")
    log.info("hello", extra={"level": "error", "service": "other"})

    [event] = events(capsys.readouterr().out)
    assert (event["level"], event["service"], event["level_"]) == ("info", "api", "error")


@pytest.mark.parametrize(("level", "shown"), [("error", 1), ("warn", 2), ("info", 3), ("debug", 4)])
def test_the_level_decides_which_events_are_logged(capsys, level, shown):
    logs.setup(with_(log_level=level), "api")
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        log.log(number, "x")

    assert [event["level"] for event in events(capsys.readouterr().out)] == ["debug", "info", "warn", "error"][-shown:]


def test_noisy_loggers_of_libraries_are_limited(capsys):
    logs.setup(SETTINGS, "worker")
    logging.getLogger("httpx2").info("HTTP Request: POST …")
    logging.getLogger("waitress.queue").warning("pool is full")

    [event] = events(capsys.readouterr().out)
    assert (event["message"], event["logger"]) == ("pool is full", "waitress.queue")


@pytest.mark.parametrize("env", ["production", "development"])
def test_secrets_are_redacted_everywhere(capsys, tmp_path, env):
    logs.setup(Settings(**{**vars_of(SETTINGS), "env": env, "log_dir": tmp_path}), "worker")
    try:
        raise RuntimeError("refused sk-ant-api03-abc_DEF with correct-horse")
    except RuntimeError:
        log.exception(
            "bad key %s",
            "crk_live_123",
            extra={
                "dsn": SETTINGS.store,
                "headers": {"X-API-Key": ["correct-horse"], "correct-horse": 1},
                "error": ValueError("password battery-staple"),
                "secret": SETTINGS.webhook_secret[0],
            },
        )

    text = "".join(capsys.readouterr()) + (tmp_path / "combined.log").read_text() + (tmp_path / "error.log").read_text()
    assert text.count("RuntimeError") >= 3
    for secret in ("sk-ant-", "correct-horse", "crk_", "batt", "staple", "whsec_"):
        assert secret not in text


def vars_of(settings):
    return {key: value for key, value in vars(settings).items() if key != "given"}


@pytest.mark.parametrize(
    "nasty",
    ["a\nb", "a\r\nb", "a\u2028b", "\x1b[31mred", "\x00", "\u202eevil", "\ud800", '"}\n{"'],
    ids=("line", "crlf", "separator", "escape", "nul", "override", "surrogate", "json"),
)
def test_no_text_breaks_a_line_or_reaches_the_terminal(capsys, nasty):
    for env in ("production", "development"):
        logs.setup(with_(env=env), "api")
        log.info(f"one {nasty}", extra={"requestId": nasty, nasty: 1})

    out, err = capsys.readouterr()
    [event] = events(out)
    assert event["requestId"] == nasty
    for text in (out, err):
        assert text.count("\n") == 1 and text.endswith("\n")
        assert text[:-1].isprintable()


def test_a_traceback_stays_inside_its_event(capsys):
    logs.setup(SETTINGS, "api")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("failed")

    [event] = events(capsys.readouterr().out)
    assert event["stack"].startswith("Traceback") and event["stack"].endswith("two\nlines")


def test_the_console_format_is_readable(capsys):
    logs.setup(with_(env="development"), "api")
    try:
        raise ValueError("no\x1b[0m")
    except ValueError:
        log.warning("job failed", extra={"requestId": "a1", "ms": 12, "why": "no more tries"}, exc_info=True)

    out, err = capsys.readouterr()
    first, *below = err.splitlines()
    assert out == ""
    assert re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3} warn  job failed requestId=a1 ms=12 why="no more tries"', first)
    assert below[0] == "  | Traceback (most recent call last):"
    assert below[-1] == r"  | ValueError: no\x1b[0m"


def test_values_that_json_cannot_represent_become_strings(capsys):
    logs.setup(SETTINGS, "api")
    loop: dict = {}
    loop["again"] = loop
    log.info("odd", extra={"a": float("nan"), "b": {1: {2}}, "c": b"x", "d": loop})

    [event] = events(capsys.readouterr().out)
    assert (event["a"], event["b"], event["c"]) == ("nan", {"1": [2]}, "b'x'")


def test_a_message_with_mismatched_arguments_is_still_logged():
    record = logging.LogRecord("claude_relay", logging.INFO, __file__, 1, "%d jobs", ("many",), None)

    assert json.loads(JsonFormat("api", Redactor()).format(record))["message"] == "%d jobs ('many',)"


def test_a_thread_that_dies_is_an_event(capsys):
    logs.setup(SETTINGS, "worker")

    def die():
        raise RuntimeError("correct-horse")

    thread = threading.Thread(target=die, name="slots")
    thread.start()
    thread.join()

    out, err = capsys.readouterr()
    [event] = events(out)
    assert (event["level"], event["thread_name"]) == ("error", "slots")
    assert "[redacted]" in event["stack"] and err == ""


def test_a_second_setup_replaces_the_handlers(capsys, root):
    before = len(root.handlers)
    for _ in range(3):
        logs.setup(SETTINGS, "api")
    log.info("once")

    assert len(events(capsys.readouterr().out)) == 1
    assert len(root.handlers) == before + 1


class TestJournal:
    def journal(self, tmp_path, monkeypatch, out):
        """A fake journal that receives `out`."""
        door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        door.bind(str(tmp_path / "journal"))
        door.settimeout(60)
        monkeypatch.setattr(logs, "JOURNAL", str(tmp_path / "journal"))
        monkeypatch.setattr(sys, "stdout", out)
        status = os.fstat(out.fileno())
        logs.setup(with_(journal_stream=f"{status.st_dev}:{status.st_ino}"), "claude-relay-api")
        return door

    def test_the_journal_gets_each_event_as_fields(self, tmp_path, monkeypatch):
        with (tmp_path / "out").open("w+") as out:
            door = self.journal(tmp_path, monkeypatch, out)
            log.error("job failed", extra={"requestId": "r-1", "ms": 412, "MESSAGE": "mine", "usage": {"input": 1}})
            fields = dict(line.split("=", 1) for line in door.recv(65536).decode().splitlines())
            out.seek(0)

            assert out.read() == ""
            assert json.loads(fields["MESSAGE"])["message"] == "job failed"
            assert {name: fields[name] for name in ("PRIORITY", "SYSLOG_IDENTIFIER", "REQUEST_ID", "MS", "USAGE")} == {
                "PRIORITY": "3",
                "SYSLOG_IDENTIFIER": "claude-relay-api",
                "REQUEST_ID": "r-1",
                "MS": "412",
                "USAGE": '{"input": 1}',
            }

    def test_no_value_can_add_a_journal_field_or_leak_a_secret(self, tmp_path, monkeypatch):
        with (tmp_path / "out").open("w+") as out:
            door = self.journal(tmp_path, monkeypatch, out)
            log.info("x", extra={"requestId": "a\nPRIORITY=0\nsk-ant-api03-abc_DEF"})
            message = door.recv(65536)
            _, _, rest = message.partition(b"REQUEST_ID\n")
            [length] = struct.unpack("<Q", rest[:8])

            assert rest[8 : 8 + length].startswith(b"a\nPRIORITY=0\n")
            assert rest[8 + length :] == b"\n"
            assert b"sk-ant" not in message

    def test_an_event_too_long_for_a_datagram_is_sent_as_a_memory_file(self, tmp_path, monkeypatch):
        with (tmp_path / "out").open("w+") as out:
            door = self.journal(tmp_path, monkeypatch, out)
            log.info("x" * 1_000_000)
            _, [handle], _, _ = socket.recv_fds(door, 16, 1)
            with os.fdopen(handle, "rb") as file:
                file.seek(0)
                assert len(file.read()) > 1_000_000

    def test_lines_carry_their_priority_only_into_the_journal_itself(self, tmp_path, monkeypatch):
        """If its native socket is not available."""
        monkeypatch.setattr(logs, "JOURNAL", str(tmp_path / "nowhere"))
        for named, expected in [("{0.st_dev}:{0.st_ino}", r"<3>\{"), ("1:2", r"\{"), ("", r"\{")]:
            with (tmp_path / "out").open("w+") as out:
                monkeypatch.setattr(sys, "stdout", out)
                logs.setup(with_(journal_stream=named.format(os.fstat(out.fileno()))), "api")
                log.error("x")
                out.seek(0)
                assert re.match(expected, out.read())

    def test_a_stdout_that_is_no_file_is_no_journal(self, monkeypatch):
        monkeypatch.setattr(sys, "stdout", out := io.StringIO())
        logs.setup(with_(journal_stream="1:2"), "api")
        log.error("x")

        assert out.getvalue().startswith("{")


class TestFiles:
    def test_errors_are_in_both_files_and_the_rest_in_one(self, tmp_path):
        folder = tmp_path / "logs"
        logs.setup(with_(log_dir=folder), "api")
        log.info("fine")
        log.error("bad")

        assert [event["message"] for event in events((folder / "combined.log").read_text())] == ["fine", "bad"]
        assert [event["message"] for event in events((folder / "error.log").read_text())] == ["bad"]

    def test_log_files_are_not_world_readable(self, tmp_path):
        folder = tmp_path / "logs"
        logs.setup(with_(log_dir=folder), "api")

        assert stat.S_IMODE(folder.stat().st_mode) == 0o750
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}

    def test_logrotate_may_move_log_files(self, tmp_path):
        logs.setup(with_(log_dir=tmp_path), "api")
        log.info("before")
        (tmp_path / "combined.log").rename(tmp_path / "combined.log.1")
        log.info("after")

        assert [event["message"] for event in events((tmp_path / "combined.log.1").read_text())] == ["before"]
        assert [event["message"] for event in events((tmp_path / "combined.log").read_text())] == ["after"]

    def test_a_directory_that_cannot_be_written_stops_the_start(self, tmp_path):
        (tmp_path / "file").touch()

        with pytest.raises(ConfigError, match=r"RELAY_LOG_DIR .* cannot be written"):
            logs.setup(with_(log_dir=tmp_path / "file" / "logs"), "api")

    def test_two_processes_never_mix_their_lines(self, tmp_path):
        """
        Two processes write long lines at once while the file is moved.
        """
        program = (
            "import logging, sys\n"
            "from pathlib import Path\n"
            "from claude_relay import logs\n"
            "from claude_relay.config import Settings\n"
            "logs.setup(Settings(env='production', log_dir=Path(sys.argv[1])), sys.argv[2])\n"
            "print('ready', flush=True)\n"
            "sys.stdin.readline()\n"
            "sys.stdout = None\n"
            "for n in range(300):\n"
            "    logging.getLogger('claude_relay').info('x' * 20_000, extra={'n': n})\n"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("one", "two")
        ]
        for process in running:
            assert process.stdout.readline() == "ready\n"
        for process in running:
            process.stdin.write("go\n")
            process.stdin.flush()
        (tmp_path / "combined.log").rename(tmp_path / "combined.log.1")
        for process in running:
            process.communicate(timeout=60)
            assert process.returncode == 0

        seen = [event for path in tmp_path.glob("combined.log*") for event in events(path.read_text())]
        assert sorted((event["service"], event["n"]) for event in seen) == [
            (name, n) for name in ("one", "two") for n in range(300)
        ]
        assert all(event["message"] == "x" * 20_000 for event in seen)


class TestTrouble:
    def test_a_full_disk_raises_nothing_and_leaks_no_secret(self, capsys):
        full = LineFileHandler(Path("/dev/full"), logging.Formatter())
        record = logging.makeLogRecord({"msg": "sk-ant-1", "args": ()})
        try:
            full.handle(record)
            full.handle(record)
        finally:
            full.close()

        err = capsys.readouterr().err
        assert err == "claude-relay: log lines are being lost: [Errno 28] No space left on device\n"

    def test_a_partial_line_is_not_continued_by_the_next(self, tmp_path, monkeypatch):
        handler = LineFileHandler(tmp_path / "x.log", logging.Formatter("%(message)s"))
        whole = os.write
        monkeypatch.setattr(os, "write", lambda fd, line: whole(fd, line[:3]))
        handler.handle(logging.makeLogRecord({"msg": "torn apart"}))
        monkeypatch.undo()
        handler.handle(logging.makeLogRecord({"msg": "whole"}))
        handler.close()

        assert (tmp_path / "x.log").read_text() == "tor\nwhole\n"

    def test_a_recreated_folder_is_written_again(self, tmp_path, capsys):
        folder = tmp_path / "logs"
        folder.mkdir()
        handler = LineFileHandler(folder / "x.log", logging.Formatter("%(message)s"))
        (folder / "x.log").unlink()
        folder.rmdir()
        handler.handle(logging.makeLogRecord({"msg": "lost"}))
        folder.mkdir()
        handler.handle(logging.makeLogRecord({"msg": "found"}))
        handler.close()

        assert (folder / "x.log").read_text() == "found\n"
        assert "No such file" in capsys.readouterr().err

    def test_a_closed_console_raises_nothing(self, monkeypatch):
        gone = io.StringIO()
        monkeypatch.setattr(sys, "stdout", gone)
        monkeypatch.setattr(sys, "stderr", gone)
        logs.setup(SETTINGS, "api")
        gone.close()

        log.error("into the void")
        assert gone.closed
