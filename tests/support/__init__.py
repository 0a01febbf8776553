"""Test support: servers that stand in for external services, and builders."""
