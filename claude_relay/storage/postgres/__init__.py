"""The PostgreSQL engine: one server for several machines. Imported only for such a store, as it needs the driver."""

from .store import PostgresStore

__all__ = ["PostgresStore"]
