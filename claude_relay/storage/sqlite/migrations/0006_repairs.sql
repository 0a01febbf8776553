-- An answer that did not fit outputSchema, kept until Claude has been shown it once, across restarts.
CREATE TABLE repairs (
    job_id  TEXT PRIMARY KEY REFERENCES jobs (id),
    run     INTEGER NOT NULL,
    text    TEXT NOT NULL,
    problem TEXT NOT NULL
);
