"""Entry point of `python -m claude_relay` and of the console script."""

import sys


def main() -> int:
    """Run the command line; return the exit code."""
    from claude_relay.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
