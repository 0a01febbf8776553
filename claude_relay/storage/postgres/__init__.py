"""The engine for several machines: one PostgreSQL that all of them share. Imported only where a store is one."""

from .store import PostgresStore

__all__ = ["PostgresStore"]
