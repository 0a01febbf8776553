-- What an operator was told, by cause: gone when the cause is. `due_at` is the next try to tell; NULL: told, or given up.
CREATE TABLE alerts (
    cause   TEXT PRIMARY KEY,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    body    BLOB NOT NULL,
    tries   INTEGER NOT NULL,
    due_at  REAL,
    gone_at REAL
) WITHOUT ROWID;

-- What has died lately, without looking at what died long ago.
CREATE INDEX deliveries_died ON deliveries (finished_at, destination) WHERE state = 'dead';
