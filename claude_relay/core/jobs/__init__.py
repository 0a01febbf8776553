"""The life of a job: its values, transitions and events."""
