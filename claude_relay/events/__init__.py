"""
Event streams: one reader of the store (`Hub`) for all subscriptions of a process.

The API writes their messages to connections as Server-Sent Events, the command line prints them.
"""

from .hub import Hub
from .local import follow
from .messages import StreamMessage
from .opening import open_collection, open_job, open_list
from .subscription import Filter, Places, Sink, Subscription

__all__ = [
    "Filter",
    "Hub",
    "Places",
    "Sink",
    "StreamMessage",
    "Subscription",
    "follow",
    "open_collection",
    "open_job",
    "open_list",
]
