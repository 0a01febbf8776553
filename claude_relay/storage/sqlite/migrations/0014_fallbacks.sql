-- The models that a job may turn to where its own cannot answer, in order, with commas between; NULL for none.
ALTER TABLE jobs ADD COLUMN fallbacks TEXT;
-- The error type that a waiting job backs off from; waiting_for is its text.
ALTER TABLE jobs ADD COLUMN waiting_error TEXT;
-- Who may turn while a family of models is held; nearly always empty.
CREATE INDEX jobs_fallbacks ON jobs (family, rank) WHERE state = 'queued' AND fallbacks IS NOT NULL;
