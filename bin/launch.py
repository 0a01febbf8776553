"""Launcher behind `bin/claude-relay`: runs the package of this checkout, or names what is missing."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    if sys.version_info < (3, 10):  # noqa: UP036 - an older Python reads this file
        return report_missing(f"Python 3.10 or newer (this is {sys.version.split()[0]})")

    # Help and errors show the name of the command; nothing is imported from bin/.
    sys.argv[0] = str(ROOT / "bin" / "claude-relay")
    sys.path[0] = str(ROOT)
    # The processes that it starts run this checkout, too, in an environment where the package is not installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        from claude_relay.__main__ import main as run

        return run()
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "claude_relay":
            raise
        return report_missing(f"the library {exc.name}")


def report_missing(requirement: str) -> int:
    sys.stderr.write(f"claude-relay: {requirement} is missing; run: make -C '{ROOT}' setup\n")
    return 78


if __name__ == "__main__":
    sys.exit(main())
