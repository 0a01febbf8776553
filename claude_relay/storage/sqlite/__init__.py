"""SQLite: the store of one machine."""
