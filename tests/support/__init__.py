"""What the tests stand on: servers that play the world outside, and builders."""
