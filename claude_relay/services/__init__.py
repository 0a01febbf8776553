"""
The use cases: each opens a transaction, loads, decides by a rule of `core` and saves.

`Relay` is the only entry for `api`, `cli` and `worker`; the values beside it are what it takes and returns.
"""

from .claim_limits import FamilyCapacity
from .collections import CollectionRef
from .dashboard import GroupLoad, History
from .destination_control import SAMPLE_MODEL
from .event_feed import PAGE as FEED_PAGE
from .event_feed import EventFeed, TextSoFar
from .keys import Keys
from .metrics import MetricsSnapshot
from .relay import Relay
from .types import Accepted, BatchEntry, ClaimedDelivery, ClaimedJob, JobRef, Page

__all__ = [
    "FEED_PAGE",
    "SAMPLE_MODEL",
    "Accepted",
    "BatchEntry",
    "ClaimedDelivery",
    "ClaimedJob",
    "CollectionRef",
    "EventFeed",
    "FamilyCapacity",
    "GroupLoad",
    "History",
    "JobRef",
    "Keys",
    "MetricsSnapshot",
    "Page",
    "Relay",
    "TextSoFar",
]
