-- Message Batches: jobs that belong to one, the batches themselves, and which job is which item.

-- A new state needs a new CHECK, and SQLite changes none in place: the table is made anew. The rows that point to it
-- are held to it at the commit, when it is whole again.
PRAGMA defer_foreign_keys = ON;
CREATE TEMP TABLE kept AS SELECT * FROM jobs;
DROP TABLE jobs;
CREATE TABLE jobs (
    id                  TEXT PRIMARY KEY,
    owner               TEXT NOT NULL,
    request_id          TEXT NOT NULL,
    body_hash           TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (
        state IN ('queued', 'running', 'batched', 'held', 'completed', 'failed', 'cancelled')
    ),
    version             INTEGER NOT NULL CHECK (version >= 1),
    created_at          REAL NOT NULL,
    updated_at          REAL NOT NULL,
    due_at              REAL NOT NULL,
    priority            REAL NOT NULL,
    rank                REAL NOT NULL,  -- due_at less the head start: the order of claiming
    grp                 TEXT NOT NULL,
    model               TEXT NOT NULL,
    family              TEXT NOT NULL,
    mode                TEXT NOT NULL,
    on_interrupt        TEXT NOT NULL,
    retain              TEXT NOT NULL,
    deadline_at         REAL,
    deadline_asked      INTEGER NOT NULL,
    deadline_fixed      INTEGER NOT NULL,
    run_at              REAL,
    has_webhook         INTEGER NOT NULL,
    run                 INTEGER NOT NULL,
    run_started_at      REAL NOT NULL,
    calls               INTEGER NOT NULL,
    attempt             INTEGER NOT NULL,
    failures            INTEGER NOT NULL,
    interruptions       INTEGER NOT NULL,
    unsent              INTEGER NOT NULL,
    ambiguous           INTEGER NOT NULL,
    lease_worker        TEXT,
    lease_token         TEXT,
    lease_expires_at    REAL,
    sent                INTEGER NOT NULL,
    cancel_requested_at REAL,
    waiting_for         TEXT,
    finished_at         REAL,
    error_type          TEXT,
    error               TEXT,
    prompt_length       INTEGER NOT NULL,
    response_length     INTEGER NOT NULL,
    usage               TEXT,
    cost_usd            REAL,
    lane                TEXT NOT NULL CHECK (lane IN ('live', 'batch')),
    give_up_at          REAL,
    -- The machine never asks for these; the database refuses them all the same.
    CHECK ((state = 'running') = (lease_token IS NOT NULL)),
    CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) WITHOUT ROWID;
INSERT INTO jobs (
    id, owner, request_id, body_hash, state, version, created_at, updated_at, due_at, priority, rank, grp, model,
    family, mode, on_interrupt, retain, deadline_at, deadline_asked, deadline_fixed, run_at, has_webhook, run,
    run_started_at, calls, attempt, failures, interruptions, unsent, ambiguous, lease_worker, lease_token,
    lease_expires_at, sent, cancel_requested_at, waiting_for, finished_at, error_type, error, prompt_length,
    response_length, usage, cost_usd, lane
)
SELECT
    id, owner, request_id, body_hash, state, version, created_at, updated_at, due_at, priority, rank, grp, model,
    family, mode, on_interrupt, retain, deadline_at, deadline_asked, deadline_fixed, run_at, has_webhook, run,
    run_started_at, calls, attempt, failures, interruptions, unsent, ambiguous, lease_worker, lease_token,
    lease_expires_at, sent, cancel_requested_at, waiting_for, finished_at, error_type, error, prompt_length,
    response_length, usage, cost_usd, 'live'
FROM kept;
DROP TABLE kept;

CREATE UNIQUE INDEX jobs_request ON jobs (request_id, owner);
-- What to claim next for a live call; covers the filters, so that a long queue is never read row by row.
CREATE INDEX jobs_due ON jobs (rank, id, due_at, grp, family) WHERE state = 'queued' AND lane = 'live';
-- What to gather next for a batch, and what is to be given up as a batch is too slow for it.
CREATE INDEX jobs_gather ON jobs (due_at, id, grp, owner, give_up_at) WHERE state = 'queued' AND lane = 'batch';
CREATE INDEX jobs_give_up ON jobs (give_up_at, state)
    WHERE state IN ('queued', 'batched') AND lane = 'batch' AND give_up_at IS NOT NULL;
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE state = 'queued' AND deadline_at IS NOT NULL;
CREATE INDEX jobs_batched ON jobs (deadline_at) WHERE state = 'batched' AND deadline_asked = 1;
CREATE INDEX jobs_running ON jobs (lease_worker, grp) WHERE state = 'running';
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_group ON jobs (grp, id);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

ALTER TABLE calls ADD COLUMN mode TEXT NOT NULL DEFAULT 'live';

CREATE TABLE batches (
    id           TEXT PRIMARY KEY,
    state        TEXT NOT NULL CHECK (state IN ('planned', 'creating', 'created', 'ended', 'settled')),
    version      INTEGER NOT NULL,
    planned_at   REAL NOT NULL,
    count        INTEGER NOT NULL,
    next_at      REAL NOT NULL,
    looks        INTEGER NOT NULL,
    misses       INTEGER NOT NULL,
    give_up_at   REAL,
    upstream_id  TEXT UNIQUE,
    sent_at      REAL,
    expires_at   REAL,
    ended_at     REAL,
    cancelled_at REAL,
    worker       TEXT,
    held_until   REAL,
    detail       TEXT,
    CHECK (state NOT IN ('created', 'ended') OR upstream_id IS NOT NULL),
    CHECK (state = 'planned' OR state = 'settled' OR sent_at IS NOT NULL)
) WITHOUT ROWID;
CREATE INDEX batches_next ON batches (next_at) WHERE state <> 'settled';

-- One row for each item, until its batch is purged with its jobs; `done`: its result was taken in.
CREATE TABLE batch_items (
    custom_id TEXT PRIMARY KEY,
    batch_id  TEXT NOT NULL REFERENCES batches (id),
    job_id    TEXT NOT NULL,
    number    INTEGER NOT NULL,
    done      INTEGER NOT NULL,
    UNIQUE (job_id, number)
) WITHOUT ROWID;
CREATE INDEX batch_items_batch ON batch_items (batch_id, done);
