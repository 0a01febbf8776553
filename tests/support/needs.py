"""Requirements of a test on the machine: without them it is skipped on a laptop, and fails in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def in_ci() -> bool:
    """Whether this run must be complete."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def needs(program: str, package: str | None = None) -> str:
    """The path of `program`; `package` is what Debian calls the package that brings it."""
    path = shutil.which(program)
    return path if path else lacks(f"{program} is not installed: apt-get install {package or program}")


def lacks(reason: str) -> NoReturn:
    """End the test here: skipped with `reason` on a laptop, failed in CI, where .ci/run should have brought it."""
    if in_ci():
        pytest.fail(f"{reason} (add it to .ci/run)", pytrace=False)

    pytest.skip(reason)
