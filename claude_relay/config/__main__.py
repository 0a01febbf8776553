"""`python -m claude_relay.config` writes `.env.example` and docs/reference/settings.md from the options."""

from pathlib import Path

from .docs import rewrite
from .table import OPTIONS

if __name__ == "__main__":
    rewrite(Path(__file__).parents[2], OPTIONS)
