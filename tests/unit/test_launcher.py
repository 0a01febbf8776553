"""`bin/claude-relay` runs its own checkout, from any directory."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

BIN = Path(__file__).parents[2] / "bin"


@pytest.fixture
def checkout(tmp_path):
    """A checkout with our launcher, and a package whose content the test writes."""
    root = tmp_path / "a checkout"
    (root / "claude_relay").mkdir(parents=True)
    (root / "claude_relay/__init__.py").touch()
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/python").symlink_to(sys.executable)
    shutil.copytree(BIN, root / "bin")
    return root


def program(checkout, text):
    (checkout / "claude_relay/__main__.py").write_text(text)


def run(command, *args, cwd):
    return subprocess.run([command, *args], cwd=cwd, capture_output=True, text=True, timeout=100)


def test_it_runs_from_any_directory_through_a_symlink_with_its_arguments(checkout, tmp_path):
    program(checkout, "import sys, os\ndef main():\n    print(sys.argv, os.getcwd())\n    return 7\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/relay").symlink_to(checkout / "bin/claude-relay")

    done = run("./relay", "submit", "two words", cwd=tmp_path / "elsewhere")

    assert done.stdout == f"{[str(checkout / 'bin/claude-relay'), 'submit', 'two words']} {tmp_path / 'elsewhere'}\n"
    assert done.returncode == 7


def test_a_missing_library_is_reported_in_one_line_with_the_fix(checkout):
    program(checkout, "import no_such_library\n")

    done = run(checkout / "bin/claude-relay", cwd=checkout)

    assert done.stderr == (f"claude-relay: the library no_such_library is missing; run: make -C '{checkout}' setup\n")
    assert done.returncode == 78


def test_a_missing_module_of_our_own_is_reported_as_such(checkout):
    program(checkout, "import claude_relay.nowhere\n")

    done = run(checkout / "bin/claude-relay", cwd=checkout)

    assert "make" not in done.stderr and "claude_relay.nowhere" in done.stderr


def test_no_module_of_the_current_directory_is_imported(checkout, tmp_path):
    program(checkout, "def main():\n    import json\n    return 0\n")
    (tmp_path / "json.py").write_text("raise SystemExit('a stranger')\n")

    assert run(checkout / "bin/claude-relay", cwd=tmp_path).returncode == 0


def test_our_programs_hide_none_of_the_system():
    """The README puts this directory first on the PATH, where other commands must keep their meaning."""
    ours = [file.name for file in BIN.iterdir() if file.is_file()]

    assert "claude-relay" in ours
    assert [name for name in ours if shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")] == []
