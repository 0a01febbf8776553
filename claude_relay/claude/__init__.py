"""
Adapter for Anthropic's Messages API: a stored request in, a `Completion` or a `Failure` out.

Only this package imports the `anthropic` client, and not before the first call: the import takes seconds.
"""

from .deadlines import CallTimeouts
from .messages import AnthropicMessages
from .rate_limits import Quota, RateLimits

__all__ = ["AnthropicMessages", "CallTimeouts", "Quota", "RateLimits"]
