"""
A stand-in for Anthropic's Messages API over real HTTP, to build and test scenarios without a key or a cost.

The `anthropic` client uses it like the real API. Every answer says that it comes from the sandbox, in its text, its id
or its header. The directives that make it slow, overloaded or broken are in `directives`.

An independent oracle: it imports nothing else of the package.
"""

from claude_relay.sandbox.server import Sandbox

__all__ = ["Sandbox"]
