"""Requirements of a test on the machine: without them it is skipped on a laptop, and fails in CI."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

PACKAGES = Path(__file__).parents[2] / ".ci" / "packages"
#: nginx and ip are there, and not on the PATH of every user.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_INSTALL = re.compile(r"apt-get install (\S+)")


def in_ci() -> bool:
    """Whether this run must be complete."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


@cache
def packages() -> dict[str, str]:
    """The test of each Debian package in .ci/packages, by the package's name."""
    lines = [line.split(maxsplit=1)[1] for line in PACKAGES.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split(": ", 1) for line in lines)


def package_of(program: str) -> str:
    """The Debian package that brings `program`."""
    for package, check in packages().items():
        if re.search(rf"command -v {re.escape(program)}(\s|$)", check) or package == program:
            return package

    return program


def needs(program: str, package: str | None = None) -> str:
    """The path of `program`; the test ends here if it is not installed."""
    path = shutil.which(program) or shutil.which(program, path=os.pathsep.join(_SBIN))
    return path or lacks(f"{program} is not installed: apt-get install {package or package_of(program)}")


def lacks(reason: str) -> NoReturn:
    """
    End the test here: skipped with `reason` on a laptop, failed in CI.

    A reason that ends in "apt-get install PACKAGE" counts among the programs that `make deps` installs.
    """
    if in_ci():
        pytest.fail(f"{reason} (CI installs what .ci/packages lists)", pytrace=False)

    pytest.skip(reason)


def summary(reasons: Iterable[str]) -> str:
    """One line on the tests that were skipped for `reasons`; empty without any."""
    missing, others = Counter[str](), Counter[str]()
    for reason in reasons:
        match = _INSTALL.search(reason)
        (missing if match else others)[match[1].rstrip(".,;)") if match else reason.removeprefix("Skipped: ")] += 1
    parts = []
    if missing:
        named = ", ".join(f"{package} ({count})" for package, count in sorted(missing.items()))
        parts.append(f"{_tests(missing)} skipped for programs that `make deps` installs: {named}")
    if others:
        named = "; ".join(f"{reason} ({count})" for reason, count in sorted(others.items()))
        parts.append(f"{_tests(others)} skipped for other reasons: {named}")

    return "; ".join(parts)


def _tests(counts: Counter[str]) -> str:
    total = sum(counts.values())
    return f"{total} {'test' if total == 1 else 'tests'}"
