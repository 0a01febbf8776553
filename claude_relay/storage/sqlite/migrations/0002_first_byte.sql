-- The ledger says when the first of an answer was there: how far a call came.
ALTER TABLE calls ADD COLUMN first_byte_at REAL;
