"""The command line: for a person at a terminal, and for a script in a pipe."""
