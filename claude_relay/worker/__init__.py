"""The daemon that makes the calls and brings the answers home."""
