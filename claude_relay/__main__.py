"""`python -m claude_relay` and the console script."""

import sys


def main() -> int:
    """Run the command line; the exit code."""
    from claude_relay.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
