"""The daemon that claims jobs, calls Claude, and delivers the results."""
