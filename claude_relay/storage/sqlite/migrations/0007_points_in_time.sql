-- Times that a caller asked for as points in time: they stay where they are when the calendar is set.
ALTER TABLE jobs ADD COLUMN run_at REAL;
ALTER TABLE jobs ADD COLUMN deadline_fixed INTEGER NOT NULL DEFAULT 0;
