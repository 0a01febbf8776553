-- The first schema, with the same tables, columns and indexes as SQLite's. Strings are compared byte by byte
-- (COLLATE "C"), so that ids sort as in SQLite whatever the locale of the database. Hot rows stay small: prompts,
-- answers and frozen bodies are in tables of their own, by job. Tables that each job fills name no foreign keys, unlike
-- SQLite's: a check locks the job's row, a tenth of the write-ahead log, and one process writes at a time. Pages
-- of rows that are updated keep some space, so that an update of no indexed column stays in its page.
-- The hourly purge deletes a twenty-fourth of the rows; autovacuum makes their space usable about as often.

CREATE TABLE meta (
    key   TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

CREATE TABLE jobs (
    id                  TEXT COLLATE "C" PRIMARY KEY,
    owner               TEXT COLLATE "C" NOT NULL,
    request_id          TEXT COLLATE "C" NOT NULL,
    body_hash           TEXT COLLATE "C" NOT NULL,
    created_at          DOUBLE PRECISION NOT NULL,
    priority            DOUBLE PRECISION NOT NULL,
    due_at              DOUBLE PRECISION NOT NULL,
    rank                DOUBLE PRECISION NOT NULL,  -- due_at minus the head start by priority: the order of claiming
    grp                 TEXT COLLATE "C" NOT NULL,
    model               TEXT COLLATE "C" NOT NULL,
    family              TEXT COLLATE "C" NOT NULL,
    mode                TEXT COLLATE "C" NOT NULL,
    on_interrupt        TEXT COLLATE "C" NOT NULL,
    retain              TEXT COLLATE "C" NOT NULL,
    deadline_at         DOUBLE PRECISION,
    deadline_asked      INTEGER NOT NULL,
    deadline_fixed      INTEGER NOT NULL,  -- 1: asked for as a point in time, like run_at
    run_at              DOUBLE PRECISION,  -- start asked for as a point in time: stays when the clock is stepped
    has_webhook         INTEGER NOT NULL,
    run                 INTEGER NOT NULL,
    run_started_at      DOUBLE PRECISION NOT NULL,
    prompt_length       INTEGER NOT NULL,
    lane                TEXT COLLATE "C" NOT NULL CHECK (lane IN ('live', 'batch')),
    give_up_at          DOUBLE PRECISION,
    -- The models the job may switch to, in order, separated by commas; NULL for none.
    fallbacks           TEXT COLLATE "C",
    -- `core.jobs.fairness.Flow`: key, collection, group and family, in whose order jobs are claimed.
    flow                TEXT COLLATE "C" NOT NULL,
    -- The version of the template that the body was made of, such as invoice@3.
    template            TEXT COLLATE "C",
    -- The collection that the job is a row of, by the id of its own job, and the number of the row, from 1.
    collection          TEXT COLLATE "C",
    row_no              INTEGER,
    -- From here on what a claim or an outcome changes: side by side, as the log has an update from its first to its last
    -- changed byte.
    state               TEXT COLLATE "C" NOT NULL CHECK (
        state IN ('queued', 'running', 'batched', 'held', 'completed', 'failed', 'cancelled', 'collection')
    ),
    version             INTEGER NOT NULL CHECK (version >= 1),
    updated_at          DOUBLE PRECISION NOT NULL,
    calls               INTEGER NOT NULL,
    attempt             INTEGER NOT NULL,
    failures            INTEGER NOT NULL,
    interruptions       INTEGER NOT NULL,
    unsent              INTEGER NOT NULL,
    ambiguous           INTEGER NOT NULL,
    lease_worker        TEXT COLLATE "C",
    lease_token         TEXT COLLATE "C",
    lease_expires_at    DOUBLE PRECISION,
    sent                INTEGER NOT NULL,
    cancel_requested_at DOUBLE PRECISION,
    waiting_for         TEXT COLLATE "C",
    -- The error type behind waiting_for.
    waiting_error       TEXT COLLATE "C",
    finished_at         DOUBLE PRECISION,
    error_type          TEXT COLLATE "C",
    error               TEXT COLLATE "C",
    response_length     INTEGER NOT NULL,
    usage               TEXT COLLATE "C",
    cost_usd            DOUBLE PRECISION,
    -- Results of options.checks as JSON, once the run has an answer.
    checks              TEXT COLLATE "C",
    digest              BYTEA NOT NULL,  -- of the columns that only transitions change: see `core.digests`
    times               DOUBLE PRECISION NOT NULL,  -- the sum of due_at, run_started_at, deadline_at, finished_at and sent
    -- The transitions never produce these rows; the database refuses them all the same.
    CHECK ((state = 'running') = (lease_token IS NOT NULL)),
    CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);
-- Idempotency by owner, and the lookup by requestId alone that the administrator makes.
CREATE UNIQUE INDEX jobs_request ON jobs (request_id, owner);
-- Claiming for live calls: the first due jobs of each flow, however many wait.
CREATE INDEX jobs_due ON jobs (flow, rank, id, due_at) WHERE state = 'queued' AND lane = 'live';
-- Lists by key, newest first. The indexes by state are without running jobs, which are few and have an index of their
-- own: a claim writes neither.
CREATE INDEX jobs_owner ON jobs (owner, state, id) INCLUDE (collection, row_no) WHERE state <> 'running';
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
CREATE INDEX jobs_state ON jobs (state, id) INCLUDE (collection, row_no) WHERE state <> 'running';
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
    job_id              TEXT COLLATE "C" PRIMARY KEY,
    request             TEXT COLLATE "C" NOT NULL,
    webhook_url         TEXT COLLATE "C",
    failure_webhook_url TEXT COLLATE "C",
    webhook_headers     TEXT COLLATE "C",
    metadata            TEXT COLLATE "C",
    max_cost_usd        DOUBLE PRECISION,
    need_by             DOUBLE PRECISION,
    warnings            TEXT COLLATE "C",
    request_digest      BYTEA NOT NULL,  -- of `request`: see `core.digests`
    digest              BYTEA NOT NULL,  -- of the others
    variables           TEXT COLLATE "C",  -- of a row of a collection: see `sql/row_variables.py`
    traceparent         TEXT COLLATE "C"
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE outcomes (
    job_id TEXT COLLATE "C" NOT NULL,
    run    INTEGER NOT NULL,
    at     DOUBLE PRECISION NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    body   BYTEA NOT NULL,
    digest BYTEA,
    PRIMARY KEY (job_id, run)  -- one outcome per run
) WITH (autovacuum_vacuum_scale_factor = 0.05);

-- The ledger: one row per call, written before its first byte is sent.
CREATE TABLE calls (
    job_id              TEXT COLLATE "C" NOT NULL,
    number              INTEGER NOT NULL,
    run                 INTEGER NOT NULL,
    started_at          DOUBLE PRECISION NOT NULL,
    worker              TEXT COLLATE "C" NOT NULL,
    mode                TEXT COLLATE "C" NOT NULL DEFAULT 'live',
    -- The most the call may cost while it runs, set at the claim where its key has a daily budget.
    reserved_usd        DOUBLE PRECISION,
    model               TEXT COLLATE "C" NOT NULL,
    -- From here on what the end of the call changes: side by side, as in `jobs`.
    sent                INTEGER NOT NULL,
    text_length         INTEGER NOT NULL,
    ended_at            DOUBLE PRECISION,
    first_byte_at       DOUBLE PRECISION,  -- first byte of the response
    cost_usd            DOUBLE PRECISION,
    upstream_request_id TEXT COLLATE "C",
    outcome             TEXT COLLATE "C",
    detail              TEXT COLLATE "C",
    usage               TEXT COLLATE "C",
    PRIMARY KEY (job_id, number)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

-- The text of running calls, as received up to the last checkpoint.
CREATE TABLE partials (
    job_id              TEXT COLLATE "C" PRIMARY KEY,
    number              INTEGER NOT NULL,
    text                TEXT COLLATE "C" NOT NULL,
    usage               TEXT COLLATE "C",
    model               TEXT COLLATE "C",
    upstream_request_id TEXT COLLATE "C",
    digest              BYTEA NOT NULL
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);

CREATE TABLE deliveries (
    id               TEXT COLLATE "C" NOT NULL,  -- unique, and never looked up: an index would only cost
    job_id           TEXT COLLATE "C" NOT NULL,
    run              INTEGER NOT NULL,
    webhook_id       TEXT COLLATE "C" NOT NULL,  -- made of the id
    url              TEXT COLLATE "C" NOT NULL,
    destination      TEXT COLLATE "C" NOT NULL,
    grp              TEXT COLLATE "C" NOT NULL DEFAULT 'default',
    created_at       DOUBLE PRECISION NOT NULL,
    opened_at        DOUBLE PRECISION NOT NULL DEFAULT 0,
    due_at           DOUBLE PRECISION NOT NULL,
    -- From here on what a claim or an attempt changes: side by side, as in `jobs`.
    digest           BYTEA NOT NULL,
    state            TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'sending', 'delivered', 'dead')),
    version          INTEGER NOT NULL,
    attempts         INTEGER NOT NULL,
    schedule_index   INTEGER NOT NULL,
    not_ready_since  DOUBLE PRECISION,
    lease_worker     TEXT COLLATE "C",
    lease_token      TEXT COLLATE "C",
    lease_expires_at DOUBLE PRECISION,
    last_status      INTEGER,
    last_error       TEXT COLLATE "C",
    finished_at      DOUBLE PRECISION,
    acked_at         DOUBLE PRECISION,
    reminded_at      DOUBLE PRECISION,
    PRIMARY KEY (job_id, run),  -- one delivery per run
    CHECK ((state = 'sending') = (lease_token IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
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
    delivery_id TEXT COLLATE "C" PRIMARY KEY,
    body        BYTEA NOT NULL,
    digest      BYTEA NOT NULL
);

CREATE TABLE posts (
    delivery_id TEXT COLLATE "C" NOT NULL,
    number      INTEGER NOT NULL,
    at          DOUBLE PRECISION NOT NULL,
    url         TEXT COLLATE "C" NOT NULL,
    status      INTEGER,
    ms          INTEGER NOT NULL,
    reply       TEXT COLLATE "C" NOT NULL,
    error       TEXT COLLATE "C",
    next_due    DOUBLE PRECISION,  -- when the next attempt was due after this one; NULL: there was none
    PRIMARY KEY (delivery_id, number)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

-- One process writes at a time, so that `seq` is in the order of the commits. Gaps mean nothing.
CREATE TABLE events (
    seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id  TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    version INTEGER NOT NULL,
    at      DOUBLE PRECISION NOT NULL,
    name    TEXT COLLATE "C" NOT NULL,
    detail  TEXT COLLATE "C"
) WITH (autovacuum_vacuum_scale_factor = 0.05);
-- Timelines. SQLite's index is unique with subject and version as well, which every UPDATE here sees to: five longer
-- entries a job would be a twentieth of its write-ahead log.
CREATE INDEX events_job ON events (job_id);

CREATE TABLE groups (
    name        TEXT COLLATE "C" PRIMARY KEY,
    concurrency INTEGER,
    rate        DOUBLE PRECISION,
    paused_at   DOUBLE PRECISION,
    next_at     DOUBLE PRECISION NOT NULL
);

-- Blocked parts of the queue: the entire queue, a family of models, the batches, or an owner out of budget.
CREATE TABLE holds (
    scope  TEXT COLLATE "C" PRIMARY KEY,
    reason TEXT COLLATE "C" NOT NULL,
    since  DOUBLE PRECISION NOT NULL,
    until  DOUBLE PRECISION,
    detail TEXT COLLATE "C" NOT NULL DEFAULT ''  -- the upstream's own words
);

CREATE TABLE workers (
    id         TEXT COLLATE "C" PRIMARY KEY,
    host       TEXT COLLATE "C" NOT NULL,
    pid        INTEGER NOT NULL,
    started_at DOUBLE PRECISION NOT NULL,
    seen_at    DOUBLE PRECISION NOT NULL,
    slots      INTEGER NOT NULL,
    running    INTEGER NOT NULL
);

-- Named API keys: the digest of each, never the key. A revoked name stays, so that no other key inherits its jobs.
CREATE TABLE keys (
    id               TEXT COLLATE "C" PRIMARY KEY,
    name             TEXT COLLATE "C" NOT NULL UNIQUE,
    digest           BYTEA NOT NULL,
    scopes           TEXT COLLATE "C" NOT NULL,
    rate_count       INTEGER,
    rate_seconds     DOUBLE PRECISION,
    daily_budget_usd DOUBLE PRECISION,
    created_at       DOUBLE PRECISION NOT NULL,
    revoked_at       DOUBLE PRECISION,
    weight           DOUBLE PRECISION NOT NULL DEFAULT 1  -- its part of a contended queue, relative to other keys
);

-- Destinations that failed recently; a healthy destination has no row.
CREATE TABLE destinations (
    name          TEXT COLLATE "C" PRIMARY KEY,
    failures      INTEGER NOT NULL,
    failing_since DOUBLE PRECISION,
    slowed_at     DOUBLE PRECISION,
    probes        INTEGER NOT NULL,
    successes     INTEGER NOT NULL,
    not_before    DOUBLE PRECISION NOT NULL,
    last_error    TEXT COLLATE "C"
);

-- Small values that a worker shares with other processes: models, prices, limits.
CREATE TABLE memos (
    key   TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- The remains of purged jobs: enough to keep a requestId from running twice.
CREATE TABLE tombstones (
    request_id  TEXT COLLATE "C" NOT NULL,
    owner       TEXT COLLATE "C" NOT NULL,
    job_id      TEXT COLLATE "C" NOT NULL,
    body_hash   TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL,
    created_at  DOUBLE PRECISION NOT NULL,
    finished_at DOUBLE PRECISION,
    purged_at   DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (request_id, owner)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX tombstones_purged ON tombstones (purged_at);

-- Files that jobs name by URL: fetched once before the first call, and kept so that no later attempt, restart or run
-- fetches again. The bytes are the last column, so that lists of the others never read them.
CREATE TABLE fetched_files (
    job_id     TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    number     INTEGER NOT NULL,  -- position among the job's files, from 0
    media_type TEXT COLLATE "C" NOT NULL,
    size       BIGINT NOT NULL,
    sha256     TEXT COLLATE "C" NOT NULL,
    at         DOUBLE PRECISION NOT NULL,
    name       TEXT COLLATE "C",
    data       BYTEA NOT NULL,
    PRIMARY KEY (job_id, number)
);

-- Conversations: which job continues which. A link keeps the earlier job from the purge, as part of the later prompt.
CREATE TABLE continuations (
    job_id      TEXT COLLATE "C" PRIMARY KEY REFERENCES jobs (id),
    earlier_id  TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    earlier_run INTEGER NOT NULL
);
CREATE INDEX continuations_earlier ON continuations (earlier_id);

-- Claude's answer in content blocks, as it must be sent back; only where the text alone is not enough.
CREATE TABLE answers (
    job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    run    INTEGER NOT NULL,
    blocks TEXT COLLATE "C" NOT NULL,
    digest BYTEA NOT NULL,
    PRIMARY KEY (job_id, run)
);

-- Acknowledged results: one row per run whose ackUrl was called.
CREATE TABLE acks (
    job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    run    INTEGER NOT NULL,
    at     DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (job_id, run)
);

-- The groups with at least one ack. Rows stay when the jobs are purged: in other groups a missing ack means nothing.
CREATE TABLE ack_groups (
    name  TEXT COLLATE "C" PRIMARY KEY,
    since DOUBLE PRECISION NOT NULL
);

-- Answers that did not match outputSchema or failed their checks, kept across restarts until Claude was asked once to repair them.
CREATE TABLE repairs (
    job_id  TEXT COLLATE "C" PRIMARY KEY REFERENCES jobs (id),
    run     INTEGER NOT NULL,
    text    TEXT COLLATE "C" NOT NULL,
    problem TEXT COLLATE "C" NOT NULL,
    kinds   TEXT COLLATE "C" NOT NULL,  -- what was asked for in this run: schema, checks
    digest  BYTEA NOT NULL
);

-- Spend by UTC day, key, group, model and mode: sums over the ledger that stay when its entries are purged. Daily
-- budgets are checked against them. `usd` is NULL where no call of that row had a known price.
CREATE TABLE costs (
    day                TEXT COLLATE "C" NOT NULL,
    owner              TEXT COLLATE "C" NOT NULL,
    grp                TEXT COLLATE "C" NOT NULL,
    model              TEXT COLLATE "C" NOT NULL,
    mode               TEXT COLLATE "C" NOT NULL,
    calls              INTEGER NOT NULL,
    input_tokens       BIGINT NOT NULL,
    output_tokens      BIGINT NOT NULL,
    cache_read_tokens  BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    usd                DOUBLE PRECISION,
    unpriced           INTEGER NOT NULL,  -- calls with a cost that is not known
    template           TEXT COLLATE "C" NOT NULL DEFAULT '',  -- empty: none
    outcome            TEXT COLLATE "C" NOT NULL,
    ended              INTEGER NOT NULL,  -- calls, and those of which nothing was sent
    part               TEXT COLLATE "C" NOT NULL DEFAULT '',  -- of a process and some of its commits; empty: folded
    PRIMARY KEY (day, owner, grp, model, mode, template, outcome, part)
);
CREATE INDEX costs_part ON costs (part) WHERE part <> '';

-- URLs that answered 410 Gone.
CREATE TABLE gone (
    url TEXT COLLATE "C" PRIMARY KEY,
    at  DOUBLE PRECISION NOT NULL
);

-- Message Batches, and the jobs in them.
CREATE TABLE batches (
    id           TEXT COLLATE "C" PRIMARY KEY,
    state        TEXT COLLATE "C" NOT NULL CHECK (state IN ('planned', 'creating', 'created', 'ended', 'settled')),
    version      INTEGER NOT NULL,
    planned_at   DOUBLE PRECISION NOT NULL,
    count        INTEGER NOT NULL,
    next_at      DOUBLE PRECISION NOT NULL,
    looks        INTEGER NOT NULL,
    misses       INTEGER NOT NULL,
    give_up_at   DOUBLE PRECISION,
    upstream_id  TEXT COLLATE "C" UNIQUE,
    sent_at      DOUBLE PRECISION,
    expires_at   DOUBLE PRECISION,
    ended_at     DOUBLE PRECISION,
    cancelled_at DOUBLE PRECISION,
    worker       TEXT COLLATE "C",
    held_until   DOUBLE PRECISION,
    detail       TEXT COLLATE "C",
    collection   TEXT COLLATE "C",  -- where all its jobs are rows of one, by internal id
    growing      INTEGER NOT NULL,  -- 1: more of its rows are being put into it
    size         BIGINT NOT NULL,
    CHECK (state NOT IN ('created', 'ended') OR upstream_id IS NOT NULL),
    CHECK (state = 'planned' OR state = 'settled' OR sent_at IS NOT NULL)
);
CREATE INDEX batches_next ON batches (next_at) WHERE state <> 'settled';

-- One row per item, until its batch is purged with its jobs. `done`: its result was read.
CREATE TABLE batch_items (
    custom_id TEXT COLLATE "C" PRIMARY KEY,
    batch_id  TEXT COLLATE "C" NOT NULL REFERENCES batches (id),
    job_id    TEXT COLLATE "C" NOT NULL,
    number    INTEGER NOT NULL,
    done      INTEGER NOT NULL,
    UNIQUE (job_id, number)
);
CREATE INDEX batch_items_batch ON batch_items (batch_id, done);

-- Alerts by cause; a row is deleted with its cause. `due_at` is the next attempt to send; NULL: sent, or given up.
CREATE TABLE alerts (
    cause   TEXT COLLATE "C" PRIMARY KEY,
    kind    TEXT COLLATE "C" NOT NULL,
    name    TEXT COLLATE "C" NOT NULL,
    body    BYTEA NOT NULL,
    tries   INTEGER NOT NULL,
    due_at  DOUBLE PRECISION,
    gone_at DOUBLE PRECISION
);

-- Files stored by Anthropic, by content: uploaded once, used until they expire there.
CREATE TABLE uploads (
    account    TEXT COLLATE "C" NOT NULL,  -- hash of the API key that owns them
    sha256     TEXT COLLATE "C" NOT NULL,
    file_id    TEXT COLLATE "C" NOT NULL,
    size       BIGINT NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (account, sha256)
);

-- The last commit of each process that writes, by a counter of its own, in a new row from time to time: read where the reply to a commit was lost.
-- The server's own transaction ids do not tell: after a crash it reuses those that were not written to disk.
CREATE TABLE commits (
    session TEXT COLLATE "C" PRIMARY KEY,
    turn    BIGINT NOT NULL,
    at      DOUBLE PRECISION NOT NULL
) WITH (fillfactor = 50);

-- Tags of fair queueing (`core.jobs.fairness`) by share, and under an empty name the virtual time. Tags that are not
-- ahead of it mean nothing.
CREATE TABLE shares (
    name TEXT COLLATE "C" PRIMARY KEY,
    tag  DOUBLE PRECISION NOT NULL
) WITH (fillfactor = 50);

-- Templates by name, also deleted ones: `version` is the newest, and no number is used twice.
CREATE TABLE templates (
    owner       TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    version     INTEGER NOT NULL,
    shared      INTEGER NOT NULL,
    description TEXT COLLATE "C",
    deleted_at  DOUBLE PRECISION,
    PRIMARY KEY (owner, name)
);

-- Their versions. Those of a deleted template stay while a kept job was made of them.
CREATE TABLE template_versions (
    owner           TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    version         INTEGER NOT NULL,
    body            TEXT COLLATE "C" NOT NULL,
    webhook_headers TEXT COLLATE "C",  -- encrypted, and not in the body
    created_at      DOUBLE PRECISION NOT NULL,
    deleted_at      DOUBLE PRECISION,
    PRIMARY KEY (owner, name, version),
    FOREIGN KEY (owner, name) REFERENCES templates (owner, name)
);

-- Collections, by the id of the job that carries their callback. Rows after `total` are being stored.
CREATE TABLE collections (
    id                  TEXT COLLATE "C" PRIMARY KEY REFERENCES jobs (id),
    owner               TEXT COLLATE "C" NOT NULL,
    phase               TEXT COLLATE "C" NOT NULL CHECK (
        phase IN ('staging', 'open', 'closed', 'retrying', 'finished', 'purging')
    ),
    claimable           INTEGER NOT NULL,  -- 0: none of its rows starts
    total               INTEGER NOT NULL,
    touched_at          DOUBLE PRECISION NOT NULL,
    cancel_requested_at DOUBLE PRECISION,
    finished_at         DOUBLE PRECISION,
    status              TEXT COLLATE "C",
    completed           INTEGER NOT NULL,
    failed              INTEGER NOT NULL,
    cost_usd            DOUBLE PRECISION,
    saved_usd           DOUBLE PRECISION,
    spent_usd           DOUBLE PRECISION NOT NULL,  -- by the calls of this generation
    max_cost_usd        DOUBLE PRECISION,
    each_row            INTEGER NOT NULL,
    on_invalid          TEXT COLLATE "C" NOT NULL,
    kind                TEXT COLLATE "C",
    template            TEXT COLLATE "C",
    template_body       TEXT COLLATE "C",
    defaults            TEXT COLLATE "C" NOT NULL,
    columns             TEXT COLLATE "C" NOT NULL,
    retry_rows          TEXT COLLATE "C",
    version             INTEGER NOT NULL,
    checks_failed       INTEGER,  -- rows with a check that is false, once finished
    CHECK ((phase IN ('finished', 'purging')) = (finished_at IS NOT NULL))
);
CREATE INDEX collections_owner ON collections (owner, id);
-- Collections whose rows do not start, and those that have work to be continued; few at any time.
CREATE INDEX collections_blocked ON collections (id) WHERE claimable = 0;
CREATE INDEX collections_live ON collections (phase, id) WHERE phase <> 'finished';
CREATE INDEX collections_finished ON collections (finished_at) WHERE phase = 'finished';

-- Requests that changed an open collection, by their Idempotency-Key.
CREATE TABLE collection_requests (
    collection TEXT COLLATE "C" NOT NULL REFERENCES collections (id),
    key        TEXT COLLATE "C" NOT NULL,
    body_hash  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (collection, key)
);

-- Changes of the numbers of jobs and deliveries by state, group and key; a number is the sum of its rows. Always read as
-- a whole, and some hundreds of rows: no index.
CREATE TABLE tallies (
    seq   BIGINT GENERATED ALWAYS AS IDENTITY,
    kind  TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    grp   TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    n     INTEGER NOT NULL
);

-- What workers have counted, for /metrics: sums by name, label, and the outcome or the bucket of a histogram.
CREATE TABLE metrics (
    name  TEXT COLLATE "C" NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    part  TEXT COLLATE "C" NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (name, label, part)
) WITH (fillfactor = 50);

-- The search index: entries of jobs by a number that sorts by their time. `marks` are numbers of three bytes of their
-- texts (`core.search_index`). It is filled from the events, up to the position. Not in the write-ahead log: after a
-- crash of the server these five tables are empty, and are filled again from the first event on. The marks are outside
-- of the rows, of which a frequent text reads thousands.
CREATE UNLOGGED TABLE search_docs (
    rowid BIGINT NOT NULL,
    marks INTEGER[] NOT NULL
) WITH (toast_tuple_target = 128);
ALTER TABLE search_docs ALTER COLUMN marks SET STATISTICS 0;
CREATE INDEX search_docs_rowid ON search_docs USING hash (rowid);
-- A short list of new entries, as a search reads it as a whole, and the transaction that fills it up empties it.
CREATE INDEX search_docs_marks ON search_docs USING gin (marks) WITH (gin_pending_list_limit = 256);

CREATE UNLOGGED TABLE search_jobs (
    no     BIGINT PRIMARY KEY,
    job_id TEXT COLLATE "C" NOT NULL UNIQUE,
    opaque INTEGER NOT NULL  -- 1: the marks are not those of its texts, which have to be read
);
CREATE INDEX search_opaque ON search_jobs (job_id) WHERE opaque = 1;

-- Entries of purged jobs that are still to be deleted.
CREATE UNLOGGED TABLE search_gone (
    no BIGINT PRIMARY KEY
);

CREATE UNLOGGED TABLE search_position (
    id  BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL
);

-- Ranges of numbers, each up to the next; the entries of one have its mark.
CREATE UNLOGGED TABLE search_eras (
    first BIGINT PRIMARY KEY,
    mark  INTEGER NOT NULL
);
