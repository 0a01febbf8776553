-- The first schema, with the same tables, columns and indexes as PostgreSQL's. Hot rows stay small: prompts, answers
-- and frozen bodies are in tables of their own, by job.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobs (
    id                  TEXT PRIMARY KEY,
    owner               TEXT NOT NULL,
    request_id          TEXT NOT NULL,
    body_hash           TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (
        state IN ('queued', 'running', 'batched', 'held', 'completed', 'failed', 'cancelled', 'collection')
    ),
    version             INTEGER NOT NULL CHECK (version >= 1),
    created_at          REAL NOT NULL,
    updated_at          REAL NOT NULL,
    due_at              REAL NOT NULL,
    priority            REAL NOT NULL,
    rank                REAL NOT NULL,  -- due_at minus the head start by priority: the order of claiming
    grp                 TEXT NOT NULL,
    model               TEXT NOT NULL,
    family              TEXT NOT NULL,
    mode                TEXT NOT NULL,
    on_interrupt        TEXT NOT NULL,
    retain              TEXT NOT NULL,
    deadline_at         REAL,
    deadline_asked      INTEGER NOT NULL,
    deadline_fixed      INTEGER NOT NULL,  -- 1: asked for as a point in time, like run_at
    run_at              REAL,  -- start asked for as a point in time: stays when the clock is stepped
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
    -- The models the job may switch to, in order, separated by commas; NULL for none.
    fallbacks           TEXT,
    -- The error type behind waiting_for.
    waiting_error       TEXT,
    -- Results of options.checks as JSON, once the run has an answer.
    checks              TEXT,
    -- `core.jobs.fairness.Flow`: key, collection, group and family, in whose order jobs are claimed.
    flow                TEXT NOT NULL,
    -- The version of the template that the body was made of, such as invoice@3.
    template            TEXT,
    -- The collection that the job is a row of, by the id of its own job, and the number of the row, from 1.
    collection          TEXT,
    row_no              INTEGER,
    digest              BLOB NOT NULL,  -- of the columns that only transitions change: see `core.digests`
    times               REAL NOT NULL,  -- the sum of due_at, run_started_at, deadline_at, finished_at and sent
    -- The transitions never produce these rows; the database refuses them all the same.
    CHECK ((state = 'running') = (lease_token IS NOT NULL)),
    CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) WITHOUT ROWID;  -- ids sort by time, so a new job is appended
-- Idempotency by owner, and the lookup by requestId alone that the administrator makes.
CREATE UNIQUE INDEX jobs_request ON jobs (request_id, owner);
-- Claiming for live calls: the first due jobs of each flow, however many wait.
CREATE INDEX jobs_due ON jobs (flow, rank, id, due_at) WHERE state = 'queued' AND lane = 'live';
-- Lists by key, newest first. The indexes by state are without running jobs, which are few and have an index of their
-- own: a claim writes neither.
CREATE INDEX jobs_owner ON jobs (owner, state, id) WHERE state <> 'running';
-- Planning of batches, and the jobs for which a batch is too slow.
CREATE INDEX jobs_gather ON jobs (due_at, id, grp, owner, give_up_at) WHERE state = 'queued' AND lane = 'batch';
-- The live job of each group that has waited for longest.
CREATE INDEX jobs_oldest ON jobs (grp, due_at) WHERE state = 'queued' AND lane = 'live';
CREATE INDEX jobs_give_up ON jobs (give_up_at, state)
    WHERE state IN ('queued', 'batched') AND lane = 'batch' AND give_up_at IS NOT NULL;
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE state = 'queued' AND deadline_at IS NOT NULL;
CREATE INDEX jobs_batched ON jobs (deadline_at) WHERE state = 'batched' AND deadline_asked = 1;
-- Leases to renew and to reap, and the number of running jobs of each flow.
CREATE INDEX jobs_running ON jobs (lease_worker, flow) WHERE state = 'running';
-- Lists by state and by group, newest first; counts by state.
CREATE INDEX jobs_state ON jobs (state, id) WHERE state <> 'running';
CREATE INDEX jobs_group ON jobs (grp, id);
-- The order in which jobs are purged.
CREATE INDEX jobs_finished ON jobs (finished_at, id) WHERE finished_at IS NOT NULL;
-- Jobs that may switch to another model while a family of models is throttled; nearly always empty.
CREATE INDEX jobs_fallbacks ON jobs (family, rank) WHERE state = 'queued' AND fallbacks IS NOT NULL;
-- Whether a kept job was made of a template.
CREATE INDEX jobs_template ON jobs (template, owner) WHERE template IS NOT NULL;
-- The rows of a collection in their order: results and counts. By state those that have not completed: whether one is
-- left, and which have failed; most rows are in that index only while they wait and run.
CREATE UNIQUE INDEX jobs_row ON jobs (collection, row_no) WHERE collection IS NOT NULL;
CREATE INDEX jobs_row_state ON jobs (collection, state, row_no)
WHERE collection IS NOT NULL AND state <> 'completed';

CREATE TABLE requests (
    job_id              TEXT PRIMARY KEY REFERENCES jobs (id),
    request             TEXT NOT NULL,
    webhook_url         TEXT,
    failure_webhook_url TEXT,
    webhook_headers     TEXT,
    metadata            TEXT,
    max_cost_usd        REAL,
    need_by             REAL,
    warnings            TEXT,
    request_digest      BLOB NOT NULL,  -- of `request`: see `core.digests`
    digest              BLOB NOT NULL,  -- of the others
    variables           TEXT,  -- of a row of a collection: see `sql/row_variables.py`
    traceparent         TEXT
);

CREATE TABLE outcomes (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    run    INTEGER NOT NULL,
    at     REAL NOT NULL,
    status TEXT NOT NULL,
    digest BLOB,
    body   BLOB NOT NULL,  -- the last column, so that a long one can be written in pieces
    PRIMARY KEY (job_id, run)  -- one outcome per run
);

-- The ledger: one row per call, written before its first byte is sent.
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
    first_byte_at       REAL,  -- first byte of the response
    mode                TEXT NOT NULL DEFAULT 'live',
    -- The most the call may cost while it runs, set at the claim where its key has a daily budget.
    reserved_usd        REAL,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;

-- The text of running calls, as received up to the last checkpoint.
CREATE TABLE partials (
    job_id              TEXT PRIMARY KEY REFERENCES jobs (id),
    number              INTEGER NOT NULL,
    text                TEXT NOT NULL,
    usage               TEXT,
    model               TEXT,
    upstream_request_id TEXT,
    digest              BLOB NOT NULL
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
    grp              TEXT NOT NULL DEFAULT 'default',
    reminded_at      REAL,
    opened_at        REAL NOT NULL DEFAULT 0,
    digest           BLOB NOT NULL,
    UNIQUE (job_id, run),  -- one delivery per run
    CHECK ((state = 'sending') = (lease_token IS NOT NULL))
);
-- The next delivery of each destination is one step in this index, however long its backlog.
CREATE INDEX deliveries_due ON deliveries (destination, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_sending ON deliveries (destination, due_at) WHERE state = 'sending';
CREATE INDEX deliveries_dead ON deliveries (destination) WHERE state = 'dead';
-- Lists of dead deliveries, newest job first.
CREATE INDEX deliveries_dead_jobs ON deliveries (job_id, run) WHERE state = 'dead';
-- Results without an ack, and those of them without a reminder; the rest, which may be a million, is not read.
CREATE INDEX deliveries_unacked ON deliveries (grp, reminded_at, finished_at, job_id, run)
WHERE state = 'delivered' AND acked_at IS NULL;
-- Recently dead deliveries, without reading those that died long ago.
CREATE INDEX deliveries_died ON deliveries (finished_at, destination) WHERE state = 'dead';

-- Bodies that differ from the bytes of the outcome.
CREATE TABLE delivery_bodies (
    delivery_id TEXT PRIMARY KEY REFERENCES deliveries (id),
    body        BLOB NOT NULL,
    digest      BLOB NOT NULL
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
    next_due    REAL,  -- when the next attempt was due after this one; NULL: there was none
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;

-- One process writes at a time, so that `seq` is in the order of the commits. Gaps mean nothing.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id  TEXT NOT NULL REFERENCES jobs (id),
    subject TEXT NOT NULL,
    version INTEGER NOT NULL,
    at      REAL NOT NULL,
    name    TEXT NOT NULL,
    detail  TEXT,
    UNIQUE (job_id, subject, version)  -- one transition per version
);

CREATE TABLE groups (
    name        TEXT PRIMARY KEY,
    concurrency INTEGER,
    rate        REAL,
    paused_at   REAL,
    next_at     REAL NOT NULL
) WITHOUT ROWID;

-- Blocked parts of the queue: the entire queue, a family of models, the batches, or an owner out of budget.
CREATE TABLE holds (
    scope  TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    since  REAL NOT NULL,
    until  REAL,
    detail TEXT NOT NULL DEFAULT ''  -- the upstream's own words
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
    revoked_at       REAL,
    weight           REAL NOT NULL DEFAULT 1  -- its part of a contended queue, relative to other keys
) WITHOUT ROWID;

-- Destinations that failed recently; a healthy destination has no row.
CREATE TABLE destinations (
    name          TEXT PRIMARY KEY,
    failures      INTEGER NOT NULL,
    failing_since REAL,
    slowed_at     REAL,
    probes        INTEGER NOT NULL,
    successes     INTEGER NOT NULL,
    not_before    REAL NOT NULL,
    last_error    TEXT
) WITHOUT ROWID;

-- Small values that a worker shares with other processes: models, prices, limits.
CREATE TABLE memos (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- The remains of purged jobs: enough to keep a requestId from running twice.
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

-- Files that jobs name by URL: fetched once before the first call, and kept so that no later attempt, restart or run
-- fetches again. The bytes are the last column, so that lists of the others never read them.
CREATE TABLE fetched_files (
    job_id     TEXT NOT NULL REFERENCES jobs (id),
    number     INTEGER NOT NULL,  -- position among the job's files, from 0
    media_type TEXT NOT NULL,
    size       INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    at         REAL NOT NULL,
    name       TEXT,
    data       BLOB NOT NULL,
    PRIMARY KEY (job_id, number)
);

-- Conversations: which job continues which. A link keeps the earlier job from the purge, as part of the later prompt.
CREATE TABLE continuations (
    job_id      TEXT PRIMARY KEY REFERENCES jobs (id),
    earlier_id  TEXT NOT NULL REFERENCES jobs (id),
    earlier_run INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX continuations_earlier ON continuations (earlier_id);

-- Claude's answer in content blocks, as it must be sent back; only where the text alone is not enough.
CREATE TABLE answers (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    run    INTEGER NOT NULL,
    blocks TEXT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (job_id, run)
);

-- Acknowledged results: one row per run whose ackUrl was called.
CREATE TABLE acks (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    run    INTEGER NOT NULL,
    at     REAL NOT NULL,
    PRIMARY KEY (job_id, run)
) WITHOUT ROWID;

-- The groups with at least one ack. Rows stay when the jobs are purged: in other groups a missing ack means nothing.
CREATE TABLE ack_groups (
    name  TEXT PRIMARY KEY,
    since REAL NOT NULL
) WITHOUT ROWID;

-- Answers that did not match outputSchema or failed their checks, kept across restarts until Claude was asked once to repair them.
CREATE TABLE repairs (
    job_id  TEXT PRIMARY KEY REFERENCES jobs (id),
    run     INTEGER NOT NULL,
    text    TEXT NOT NULL,
    problem TEXT NOT NULL,
    kinds   TEXT NOT NULL,  -- what was asked for in this run: schema, checks
    digest  BLOB NOT NULL
);

-- Spend by UTC day, key, group, model and mode: sums over the ledger that stay when its entries are purged. Daily
-- budgets are checked against them. `usd` is NULL where no call of that row had a known price.
CREATE TABLE costs (
    day                TEXT NOT NULL,
    owner              TEXT NOT NULL,
    grp                TEXT NOT NULL,
    model              TEXT NOT NULL,
    mode               TEXT NOT NULL,
    calls              INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cache_read_tokens  INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    usd                REAL,
    unpriced           INTEGER NOT NULL,  -- calls with a cost that is not known
    template           TEXT NOT NULL DEFAULT '',  -- empty: none
    outcome            TEXT NOT NULL,
    ended              INTEGER NOT NULL,  -- calls, and those of which nothing was sent
    part               TEXT NOT NULL DEFAULT '',  -- of a process and some of its commits; empty: folded
    PRIMARY KEY (day, owner, grp, model, mode, template, outcome, part)
) WITHOUT ROWID;
CREATE INDEX costs_part ON costs (part) WHERE part <> '';

-- URLs that answered 410 Gone.
CREATE TABLE gone (
    url TEXT PRIMARY KEY,
    at  REAL NOT NULL
) WITHOUT ROWID;

-- Message Batches, and the jobs in them.
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
    collection   TEXT,  -- where all its jobs are rows of one, by internal id
    growing      INTEGER NOT NULL,  -- 1: more of its rows are being put into it
    size         INTEGER NOT NULL,
    CHECK (state NOT IN ('created', 'ended') OR upstream_id IS NOT NULL),
    CHECK (state = 'planned' OR state = 'settled' OR sent_at IS NOT NULL)
) WITHOUT ROWID;
CREATE INDEX batches_next ON batches (next_at) WHERE state <> 'settled';

-- One row per item, until its batch is purged with its jobs. `done`: its result was read.
CREATE TABLE batch_items (
    custom_id TEXT PRIMARY KEY,
    batch_id  TEXT NOT NULL REFERENCES batches (id),
    job_id    TEXT NOT NULL,
    number    INTEGER NOT NULL,
    done      INTEGER NOT NULL,
    UNIQUE (job_id, number)
) WITHOUT ROWID;
CREATE INDEX batch_items_batch ON batch_items (batch_id, done);

-- Alerts by cause; a row is deleted with its cause. `due_at` is the next attempt to send; NULL: sent, or given up.
CREATE TABLE alerts (
    cause   TEXT PRIMARY KEY,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    body    BLOB NOT NULL,
    tries   INTEGER NOT NULL,
    due_at  REAL,
    gone_at REAL
) WITHOUT ROWID;

-- Files stored by Anthropic, by content: uploaded once, used until they expire there.
CREATE TABLE uploads (
    account    TEXT NOT NULL,  -- hash of the API key that owns them
    sha256     TEXT NOT NULL,
    file_id    TEXT NOT NULL,
    size       INTEGER NOT NULL,
    expires_at REAL NOT NULL,
    PRIMARY KEY (account, sha256)
) WITHOUT ROWID;

-- Tags of fair queueing (`core.jobs.fairness`) by share, and under an empty name the virtual time. Tags that are not
-- ahead of it mean nothing.
CREATE TABLE shares (
    name TEXT PRIMARY KEY,
    tag  REAL NOT NULL
) WITHOUT ROWID;

-- Templates by name, also deleted ones: `version` is the newest, and no number is used twice.
CREATE TABLE templates (
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    shared      INTEGER NOT NULL,
    description TEXT,
    deleted_at  REAL,
    PRIMARY KEY (owner, name)
) WITHOUT ROWID;

-- Their versions. Those of a deleted template stay while a kept job was made of them.
CREATE TABLE template_versions (
    owner           TEXT NOT NULL,
    name            TEXT NOT NULL,
    version         INTEGER NOT NULL,
    body            TEXT NOT NULL,
    webhook_headers TEXT,  -- encrypted, and not in the body
    created_at      REAL NOT NULL,
    deleted_at      REAL,
    PRIMARY KEY (owner, name, version),
    FOREIGN KEY (owner, name) REFERENCES templates (owner, name)
);

-- Collections, by the id of the job that carries their callback. Rows after `total` are being stored.
CREATE TABLE collections (
    id                  TEXT PRIMARY KEY REFERENCES jobs (id),
    owner               TEXT NOT NULL,
    phase               TEXT NOT NULL CHECK (
        phase IN ('staging', 'open', 'closed', 'retrying', 'finished', 'purging')
    ),
    claimable           INTEGER NOT NULL,  -- 0: none of its rows starts
    total               INTEGER NOT NULL,
    touched_at          REAL NOT NULL,
    cancel_requested_at REAL,
    finished_at         REAL,
    status              TEXT,
    completed           INTEGER NOT NULL,
    failed              INTEGER NOT NULL,
    cost_usd            REAL,
    saved_usd           REAL,
    spent_usd           REAL NOT NULL,  -- by the calls of this generation
    max_cost_usd        REAL,
    each_row            INTEGER NOT NULL,
    on_invalid          TEXT NOT NULL,
    kind                TEXT,
    template            TEXT,
    template_body       TEXT,
    defaults            TEXT NOT NULL,
    columns             TEXT NOT NULL,
    retry_rows          TEXT,
    version             INTEGER NOT NULL,
    checks_failed       INTEGER,  -- rows with a check that is false, once finished
    CHECK ((phase IN ('finished', 'purging')) = (finished_at IS NOT NULL))
) WITHOUT ROWID;
CREATE INDEX collections_owner ON collections (owner, id);
-- Collections whose rows do not start, and those that have work to be continued; few at any time.
CREATE INDEX collections_blocked ON collections (id) WHERE claimable = 0;
CREATE INDEX collections_live ON collections (phase, id) WHERE phase <> 'finished';
CREATE INDEX collections_finished ON collections (finished_at) WHERE phase = 'finished';

-- Requests that changed an open collection, by their Idempotency-Key.
CREATE TABLE collection_requests (
    collection TEXT NOT NULL REFERENCES collections (id),
    key        TEXT NOT NULL,
    body_hash  TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID;

-- Changes of the numbers of jobs and deliveries by state, group and key; a number is the sum of its rows.
CREATE TABLE tallies (
    seq   INTEGER PRIMARY KEY,
    kind  TEXT NOT NULL,
    state TEXT NOT NULL,
    grp   TEXT NOT NULL,
    owner TEXT NOT NULL,
    n     INTEGER NOT NULL
);

-- What workers have counted, for /metrics: sums by name, label, and the outcome or the bucket of a histogram.
CREATE TABLE metrics (
    name  TEXT NOT NULL,
    label TEXT NOT NULL,
    part  TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (name, label, part)
) WITHOUT ROWID;

-- The search index: entries of jobs by a number that sorts by their time. `marks` are numbers of three bytes of their
-- texts (`core.search_index`), stored nowhere else. It is filled from the events, up to the position.
CREATE VIRTUAL TABLE search_docs USING fts5 (
    marks, tokenize = 'ascii', content = '', contentless_delete = 1, detail = none
);

CREATE TABLE search_jobs (
    no     INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL UNIQUE,
    opaque INTEGER NOT NULL  -- 1: the marks are not those of its texts, which have to be read
);
CREATE INDEX search_opaque ON search_jobs (job_id) WHERE opaque = 1;

-- Entries of purged jobs that are still to be deleted.
CREATE TABLE search_gone (
    no INTEGER PRIMARY KEY
);

CREATE TABLE search_position (
    id  INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL
);

-- Ranges of numbers, each up to the next; the entries of one have its mark.
CREATE TABLE search_eras (
    first INTEGER PRIMARY KEY,
    mark  INTEGER NOT NULL
);
