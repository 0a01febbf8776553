-- The last commit of each process that writes, by its own count: what it asks for where the answer to a commit was lost.
-- The server's own numbers of transactions do not tell: after a crash it gives those anew that were not written down.
CREATE TABLE commits (
    session TEXT COLLATE "C" PRIMARY KEY,
    turn    BIGINT NOT NULL,
    at      DOUBLE PRECISION NOT NULL
) WITH (fillfactor = 50);
