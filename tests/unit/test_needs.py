"""A program that is missing is a counted skip on a laptop and a failure in CI."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.needs import needs, package_of, packages, summary

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


def test_an_installed_program_is_found():
    assert needs("sh").endswith("/sh")


def test_a_missing_program_skips_on_a_laptop(monkeypatch):
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="apt-get install some-package"):
        needs("no-such-program", "some-package")


def test_a_missing_program_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match=r"no-such-program.*\.ci/packages"):
        needs("no-such-program")


def test_make_deps_installs_every_program_that_a_test_needs():
    """By the one list: a test that needs more adds a line there."""
    needed = {
        (file.name, package)
        for file in (ROOT / "tests").rglob("*.py")
        if file != Path(__file__)
        for text in [file.read_text(encoding="utf-8")]
        for package in [
            *map(package_of, re.findall(r'\bneeds\("([^"]+)"', text)),
            *re.findall(r"apt-get install ([a-z][a-z0-9-]*)", text),
        ]
    }
    tools = {"bash", "some-package"}  # every Debian has it
    unlisted = {(name, package) for name, package in needed if package not in packages() and package not in tools}

    assert not {entry for entry in unlisted if entry[1] not in ("initdb",)}


def test_the_summary_counts_by_package_and_names_the_cure():
    reasons = [
        "Skipped: strace is not installed: apt-get install strace",
        "Skipped: initdb is not installed: apt-get install postgresql",
        "Skipped: strace is not installed: apt-get install strace",
        "Skipped: only root can mount",
    ]

    assert summary(reasons) == (
        "3 tests skipped for programs that `make deps` installs: postgresql (1), strace (2); "
        "1 test skipped for other reasons: only root can mount (1)"
    )
    assert summary([]) == ""


@pytest.mark.parametrize(("ci", "outcome", "code"), [("", "1 skipped", 0), ("true", "1 failed", 1)])
def test_any_skip_fails_in_ci_and_is_one_line_elsewhere(tmp_path, monkeypatch, ci, outcome, code):
    (tmp_path / "test_one.py").write_text("import pytest\n\ndef test_one():\n    pytest.skip('no such device')\n")
    monkeypatch.setenv("CI", ci)
    command = [sys.executable, "-Im", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "setup.cfg"),
               "--rootdir", str(ROOT), "--confcutdir", str(ROOT), "-p", "tests.conftest", str(tmp_path)]  # fmt: skip

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)

    assert outcome in done.stdout and "no such device" in done.stdout, done.stdout + done.stderr
    assert done.returncode == code
