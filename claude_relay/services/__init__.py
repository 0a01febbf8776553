"""The use cases: each opens a transaction, loads, asks the machine and saves. `Relay` is the one door to them."""

from .claim_limits import FamilyCapacity
from .context import Accepted, BatchEntry, ClaimedDelivery, ClaimedJob, JobRef, Page
from .relay import Relay

__all__ = ["Accepted", "BatchEntry", "ClaimedDelivery", "ClaimedJob", "FamilyCapacity", "JobRef", "Page", "Relay"]
