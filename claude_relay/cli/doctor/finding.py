"""What a check says: `ok`, `warn` or `fail`; and no fault without the command or the edit that mends it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One check: how it went, what was found and what mends it."""

    check: str
    result: str
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """The line that `doctor --json` prints: its keys are an interface and older than the names here."""
        return {"check": self.check, "result": self.result, "found": self.detail, "mend": self.fix}


def ok(check: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, mend: str) -> Finding:
    """It works, but not as well as it could, or not for long."""
    return Finding(check, "warn", found, mend)


def failure(check: str, found: str, mend: str) -> Finding:
    """Something does not work."""
    return Finding(check, "fail", found, mend)
