"""The HTTP side: resources hold a `Relay` and nothing deeper."""
