"""Storage engines: they know rows, not rules."""
