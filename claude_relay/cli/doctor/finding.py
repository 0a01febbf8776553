"""
Results of the doctor's checks.

`ok`, `warn` or `fail`, and for a fault the command or the edit that fixes it.
"""

from __future__ import annotations

from ...core.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check, with what was observed and how to fix it."""

    check: str
    result: str
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """The object that `doctor --json` prints. Its keys are read by scripts, and older than the names here."""
        return {"check": self.check, "result": self.result, "found": self.detail, "mend": self.fix}


def ok(check: str, detail: str) -> Finding:
    """A check without a fault."""
    return Finding(check, "ok", detail)


def warning(check: str, detail: str, fix: str) -> Finding:
    """A fault that does not stop anything yet."""
    return Finding(check, "warn", detail, fix)


def failure(check: str, detail: str, fix: str) -> Finding:
    """A fault because of which something does not work."""
    return Finding(check, "fail", detail, fix)
