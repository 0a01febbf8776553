-- What a call may come to while it is under way, where its key has a daily budget: set aside as the job is claimed.
ALTER TABLE calls ADD COLUMN reserved_usd REAL;
