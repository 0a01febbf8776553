"""The life of a delivery: its values, transitions, signature and acknowledgement."""
