-- What was spent, by UTC day, key, group, model and mode: sums over the ledger that stay when its entries are purged.
-- Daily budgets are held against them. `usd` is NULL where no try of that row had a known price.
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
    unpriced           INTEGER NOT NULL,  -- tries that cost something nobody knows
    PRIMARY KEY (day, owner, grp, model, mode)
) WITHOUT ROWID;

INSERT INTO costs
SELECT date(c.ended_at, 'unixepoch'), j.owner, j.grp, c.model, j.mode, count(*),
       sum(coalesce(json_extract(c.usage, '$.input_tokens'), 0)),
       sum(coalesce(json_extract(c.usage, '$.output_tokens'), 0)),
       sum(coalesce(json_extract(c.usage, '$.cache_read_input_tokens'), 0)),
       sum(coalesce(json_extract(c.usage, '$.cache_creation_input_tokens'), 0)),
       sum(c.cost_usd),
       sum(c.cost_usd IS NULL AND (c.usage IS NOT NULL OR c.outcome IN ('interrupted', 'timeout')))
FROM calls c JOIN jobs j ON j.id = c.job_id
WHERE c.ended_at IS NOT NULL AND c.sent = 1
GROUP BY 1, 2, 3, 4, 5;

-- What purged jobs had cost: only the day's sum of each key was kept of them.
INSERT INTO costs
SELECT s.day, s.owner, 'purged', 'purged', 'live', 0, 0, 0, 0, 0,
       s.usd - coalesce((SELECT sum(c.usd) FROM costs c WHERE c.day = s.day AND c.owner = s.owner), 0), 0
FROM spending s
WHERE s.usd - coalesce((SELECT sum(c.usd) FROM costs c WHERE c.day = s.day AND c.owner = s.owner), 0) > 1e-9;

DROP TABLE spending;
