"""claude-relay: takes a prompt for Claude, keeps it, makes the call and brings the answer to a webhook."""

__version__ = "0.1.0"
