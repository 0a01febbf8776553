"""The HTTP API: falcon resources over a `Relay`."""
