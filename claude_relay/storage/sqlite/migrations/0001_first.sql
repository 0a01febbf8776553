-- The first schema. Hot rows stay small: prompts, answers and frozen bodies live in tables of their own, by job.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobs (
    id                  TEXT PRIMARY KEY,
    owner               TEXT NOT NULL,
    request_id          TEXT NOT NULL,
    body_hash           TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (state IN ('queued', 'running', 'held', 'completed', 'failed', 'cancelled')),
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
    -- The machine never asks for these; the database refuses them all the same.
    CHECK ((state = 'running') = (lease_token IS NOT NULL)),
    CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) WITHOUT ROWID;  -- ids sort by time, so a new job is an append

-- Idempotency by owner, and the look-up by requestId alone that the owner of the machine makes.
CREATE UNIQUE INDEX jobs_request ON jobs (request_id, owner);
-- What to claim next; covers the filters, so that a long queue is never read row by row.
CREATE INDEX jobs_due ON jobs (rank, id, due_at, grp, family) WHERE state = 'queued';
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE state = 'queued' AND deadline_at IS NOT NULL;
-- Leases to renew and to reap, and how many a group has running.
CREATE INDEX jobs_running ON jobs (lease_worker, grp) WHERE state = 'running';
-- Lists by state and by group, newest first; counts by state.
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_group ON jobs (grp, id);
-- What the purge looks through.
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE requests (
    job_id              TEXT PRIMARY KEY REFERENCES jobs (id),
    request             TEXT NOT NULL,
    webhook_url         TEXT,
    failure_webhook_url TEXT,
    webhook_headers     TEXT,
    metadata            TEXT,
    max_cost_usd        REAL,
    need_by             REAL,
    warnings            TEXT
);

CREATE TABLE outcomes (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    run    INTEGER NOT NULL,
    at     REAL NOT NULL,
    status TEXT NOT NULL,
    body   BLOB NOT NULL,
    PRIMARY KEY (job_id, run)  -- one outcome a run
);

-- The ledger: one row a try, written before its first byte goes out.
CREATE TABLE calls (
    job_id              TEXT NOT NULL REFERENCES jobs (id),
    number              INTEGER NOT NULL,
    run                 INTEGER NOT NULL,
    started_at          REAL NOT NULL,
    ended_at            REAL,
    worker              TEXT NOT NULL,
    model               TEXT NOT NULL,
    sent                INTEGER NOT NULL,
    upstream_request_id TEXT,
    outcome             TEXT,
    detail              TEXT,
    usage               TEXT,
    cost_usd            REAL,
    text_length         INTEGER NOT NULL,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;

-- The text of running calls, as far as it had come at the last checkpoint.
CREATE TABLE partials (
    job_id              TEXT PRIMARY KEY REFERENCES jobs (id),
    number              INTEGER NOT NULL,
    text                TEXT NOT NULL,
    usage               TEXT,
    model               TEXT,
    upstream_request_id TEXT
);

CREATE TABLE deliveries (
    id               TEXT PRIMARY KEY,
    job_id           TEXT NOT NULL REFERENCES jobs (id),
    run              INTEGER NOT NULL,
    webhook_id       TEXT NOT NULL UNIQUE,
    url              TEXT NOT NULL,
    destination      TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'delivered', 'dead')),
    version          INTEGER NOT NULL,
    created_at       REAL NOT NULL,
    due_at           REAL NOT NULL,
    attempts         INTEGER NOT NULL,
    schedule_index   INTEGER NOT NULL,
    not_ready_since  REAL,
    lease_worker     TEXT,
    lease_token      TEXT,
    lease_expires_at REAL,
    last_status      INTEGER,
    last_error       TEXT,
    finished_at      REAL,
    acked_at         REAL,
    UNIQUE (job_id, run),  -- one delivery a run
    CHECK ((state = 'sending') = (lease_token IS NOT NULL))
);

CREATE INDEX deliveries_due ON deliveries (due_at, destination) WHERE state = 'pending';
CREATE INDEX deliveries_sending ON deliveries (lease_worker) WHERE state = 'sending';
CREATE INDEX deliveries_dead ON deliveries (destination) WHERE state = 'dead';

-- Bodies that differ from the outcome's own bytes.
CREATE TABLE delivery_bodies (
    delivery_id TEXT PRIMARY KEY REFERENCES deliveries (id),
    body        BLOB NOT NULL
);

CREATE TABLE posts (
    delivery_id TEXT NOT NULL REFERENCES deliveries (id),
    number      INTEGER NOT NULL,
    at          REAL NOT NULL,
    url         TEXT NOT NULL,
    status      INTEGER,
    ms          INTEGER NOT NULL,
    reply       TEXT NOT NULL,
    error       TEXT,
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id  TEXT NOT NULL REFERENCES jobs (id),
    subject TEXT NOT NULL,
    version INTEGER NOT NULL,
    at      REAL NOT NULL,
    name    TEXT NOT NULL,
    detail  TEXT,
    UNIQUE (job_id, subject, version)  -- one move a version
);

CREATE TABLE groups (
    name        TEXT PRIMARY KEY,
    concurrency INTEGER,
    rate        REAL,
    paused_at   REAL,
    next_at     REAL NOT NULL
) WITHOUT ROWID;

-- Parts of the queue that stand still: the whole of it, or a family of models.
CREATE TABLE holds (
    scope  TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    since  REAL NOT NULL,
    until  REAL
) WITHOUT ROWID;

CREATE TABLE workers (
    id         TEXT PRIMARY KEY,
    host       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    started_at REAL NOT NULL,
    seen_at    REAL NOT NULL,
    slots      INTEGER NOT NULL,
    running    INTEGER NOT NULL
) WITHOUT ROWID;

-- Named API keys: the digest of each, never the key. A revoked name stays, so that no other key inherits its jobs.
CREATE TABLE keys (
    id               TEXT PRIMARY KEY,
    name             TEXT NOT NULL UNIQUE,
    digest           BLOB NOT NULL,
    scopes           TEXT NOT NULL,
    rate_count       INTEGER,
    rate_seconds     REAL,
    daily_budget_usd REAL,
    created_at       REAL NOT NULL,
    revoked_at       REAL
) WITHOUT ROWID;

-- What each owner has spent, by UTC day: for budgets, and it stays when the jobs are purged.
CREATE TABLE spending (
    owner TEXT NOT NULL,
    day   TEXT NOT NULL,
    usd   REAL NOT NULL,
    PRIMARY KEY (owner, day)
) WITHOUT ROWID;

-- What the worker has learnt for the others: models, prices, limits.
CREATE TABLE memos (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- What remains of a purged job: enough to keep its requestId from running twice.
CREATE TABLE tombstones (
    request_id  TEXT NOT NULL,
    owner       TEXT NOT NULL,
    job_id      TEXT NOT NULL,
    body_hash   TEXT NOT NULL,
    state       TEXT NOT NULL,
    created_at  REAL NOT NULL,
    finished_at REAL,
    purged_at   REAL NOT NULL,
    PRIMARY KEY (request_id, owner)
) WITHOUT ROWID;
CREATE INDEX tombstones_purged ON tombstones (purged_at);
