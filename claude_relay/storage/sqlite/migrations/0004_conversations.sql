-- What a conversation is made of: which job goes on from which, and answers that are more than their text.

-- A link keeps the earlier job from the purge: what a job goes on from is part of its own prompt.
CREATE TABLE continuations (
    job_id      TEXT PRIMARY KEY REFERENCES jobs (id),
    earlier_id  TEXT NOT NULL REFERENCES jobs (id),
    earlier_run INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX continuations_earlier ON continuations (earlier_id);

-- Claude's answer block by block, as it must be sent back; only where the text alone does not say it.
CREATE TABLE answers (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    run    INTEGER NOT NULL,
    blocks TEXT NOT NULL,
    PRIMARY KEY (job_id, run)
);
