"""Tests on a machine that has only what a fresh Debian has: skips that are counted, and no failure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.needs import lacks, needs

ROOT = Path(__file__).parents[2]
BOX = ROOT / "tests" / "bare" / "box"
#: The files whose tests start programs; every other file is collected, and runs under `make prove-bare`.
FILES = (
    "tests/unit/test_needs.py",
    "tests/unit/test_launcher.py",
    "tests/unit/test_blueprints.py",
    "tests/unit/test_faktura_send.py",
    "tests/api/test_multipart.py",
    "tests/cli/doctor/test_permissions.py",
    "tests/adapters/test_signing_npm.py",
    "tests/cli/test_completion.py",
    "tests/cli/test_man_pages.py",
    "tests/contract/test_postgres.py",
    "tests/faults/test_power_cut.py",
    "tests/process/test_proxy.py",
    "tests/process/test_guard.py",
    "tests/systemd",
)


@pytest.fixture(autouse=True)
def _root_alone() -> None:
    needs("unshare", "util-linux")
    if os.environ.get("BARE_BOX"):
        pytest.skip("this is a bare machine already")
    if os.geteuid() != 0:
        lacks("a bare machine is a mount namespace that only root can make")


def box(*command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "JOBS") and "PYTEST" not in name}
    return subprocess.run([BOX, *command], env=env, capture_output=True, text=True, timeout=timeout)


def run_tests(who: str, *args: str) -> str:
    """The output of pytest in the box on the virtual environment of this run."""
    python = (".venv/bin/python", "-Im", "pytest", "-q", "-p", "no:cacheprovider")
    done = box(who, "--venv", sys.prefix, *python, *args)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    return done.stdout


@pytest.mark.process
@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", ["--user", "--root"])
def test_missing_programs_are_skipped_counted_and_named(who: str) -> None:
    """From a private home that cannot be written, with umask 077, blanks and letters beyond ASCII in the path."""
    output = run_tests(who, *FILES)

    [line] = [line for line in output.splitlines() if "`make deps`" in line]
    for package in ("nodejs", "postgresql", "strace", "nginx-light", "caddy", "zsh", "fish", "curl"):
        assert re.search(rf"\b{package} \(\d+\)", line), line
    assert re.search(r"\d+ passed, \d+ skipped", output), output[-2000:]


@pytest.mark.timeout(300)
def test_every_test_can_be_collected() -> None:
    assert re.search(r"\d{4,} tests collected", run_tests("--user", "--collect-only", "tests"))


@pytest.mark.parametrize(
    ("option", "code", "sentence"),
    [
        ("--bare-of-venv", 78, "cannot make a virtual environment: run apt-get install -y python3-venv as root"),
        ("--no-network", 69, "the package index cannot be reached: check the network"),
    ],
)
def test_a_setup_that_cannot_succeed_is_one_sentence_with_the_cure(option: str, code: int, sentence: str) -> None:
    done = box("--user", option, "bin/setup", timeout=200)

    assert done.returncode == code, done.stderr
    assert [line for line in done.stderr.splitlines() if sentence in line] == done.stderr.splitlines()[-1:]
    assert "Traceback" not in done.stderr


def test_make_deps_as_an_ordinary_user_names_the_command() -> None:
    done = box("--user", "make", "deps", timeout=200)

    assert "only root can install packages; run: sudo make deps (missing: curl" in done.stderr
