-- Files that Anthropic stores for this relay, by what is in them: uploaded once, used until they expire there.
CREATE TABLE uploads (
    account    TEXT NOT NULL,  -- whose key they belong to, as a hash
    sha256     TEXT NOT NULL,
    file_id    TEXT NOT NULL,
    size       INTEGER NOT NULL,
    expires_at REAL NOT NULL,
    PRIMARY KEY (account, sha256)
) WITHOUT ROWID;
