"""
The use cases: each opens a transaction, loads, decides by a rule of `core` and saves.

`Relay` is the only entry for `api`, `cli` and `worker`; the values beside it are what it takes and returns. All of them
are imported when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .claim_limits import FamilyCapacity
    from .collection_results import MAX_DOWNLOADS
    from .collections import CollectionRef
    from .dashboard import GroupLoad, History
    from .destination_control import SAMPLE_MODEL
    from .event_feed import PAGE as FEED_PAGE
    from .event_feed import EventFeed, TextSoFar
    from .keys import Keys
    from .metrics import MetricsSnapshot
    from .relay import Relay
    from .types import Accepted, BatchEntry, ClaimedDelivery, ClaimedJob, JobRef, Outcome, Page, PreparedSubmit

__all__ = [
    "FEED_PAGE",
    "MAX_DOWNLOADS",
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
    "Outcome",
    "Page",
    "PreparedSubmit",
    "Relay",
    "TextSoFar",
]

__getattr__ = lazy_names(
    __name__,
    {
        "claim_limits": ("FamilyCapacity",),
        "collection_results": ("MAX_DOWNLOADS",),
        "collections": ("CollectionRef",),
        "dashboard": ("GroupLoad", "History"),
        "destination_control": ("SAMPLE_MODEL",),
        "event_feed": ("PAGE as FEED_PAGE", "EventFeed", "TextSoFar"),
        "keys": ("Keys",),
        "metrics": ("MetricsSnapshot",),
        "relay": ("Relay",),
        "types": (
            "Accepted",
            "BatchEntry",
            "ClaimedDelivery",
            "ClaimedJob",
            "JobRef",
            "Outcome",
            "Page",
            "PreparedSubmit",
        ),
    },
)
