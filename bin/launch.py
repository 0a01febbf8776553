"""What `bin/claude-relay` runs: this checkout's package, or a sentence on what it lacks."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    if sys.version_info < (3, 10):  # noqa: UP036 - this is the file that an older Python reads
        return lacking(f"Python 3.10 or newer (this is {sys.version.split()[0]})")

    # The command is called by its own name in help and errors; bin/ is no place to import from.
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
        return lacking(f"the library {exc.name}")


def lacking(what: str) -> int:
    sys.stderr.write(f"claude-relay: {what} is missing; run: make -C '{ROOT}' setup\n")
    return 78


if __name__ == "__main__":
    sys.exit(main())
