"""
The adapter to Anthropic's Messages API: a stored request in, a `Completion` or a `Failure` out.

Only this package imports the `anthropic` client, and not before the first call: the import costs seconds.
"""

from .messages import Messages
from .ratelimits import Quota, RateLimits
from .watch import Limits

__all__ = ["Limits", "Messages", "Quota", "RateLimits"]
