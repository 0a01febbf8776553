"""Collections: many rows, one callback when all of them have ended."""
