"""The SQLite engine: the store of one machine."""
