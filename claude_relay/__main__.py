"""Entry point of `python -m claude_relay` and of the console script."""

import sys

from claude_relay import garbage


def main() -> int:
    """Run the command line; return the exit code."""
    garbage.spare_command()
    from claude_relay.cli.main import main as run

    try:
        return run()
    finally:
        garbage.skip_at_exit()


if __name__ == "__main__":
    sys.exit(main())
