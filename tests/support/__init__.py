"""Support for tests: servers in place of the outside world, and builders."""
