"""
A stand-in for Anthropic's Messages API over real HTTP, so that scenarios are built and tested without a key or a cent.

The `anthropic` client talks to it as it talks to the real one. It is never silent about being the sandbox: every answer
says so in its text, its id or its header. The words that make it slow, overloaded or broken are in `words`.
"""

from claude_relay.sandbox.server import Sandbox

__all__ = ["Sandbox"]
