-- Files that jobs name by their address: fetched once, before the first call, and kept so that no later try, restart
-- or run fetches again. The bytes come last in the row, so that lists of the rest never read them.
CREATE TABLE fetched_files (
    job_id     TEXT NOT NULL REFERENCES jobs (id),
    number     INTEGER NOT NULL,  -- its place among the job's files, from 0
    media_type TEXT NOT NULL,
    size       INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    at         REAL NOT NULL,
    name       TEXT,
    data       BLOB NOT NULL,
    PRIMARY KEY (job_id, number)
);
