"""What the house asks of the world outside: Protocols only. `wiring` says who answers."""

from .claude import BatchApi, BatchSeen, Catalogue, Claude, Parcel, Prompt, ResultsAway, Shelf, Stop
from .rows import Group, Hold, Item, JobFilter, Posted, WorkerSeen
from .store import BatchUnit, BatchView, Store, Unit, View
from .waking import Bell, ReadyQueue
from .web import Fetcher, Sender

__all__ = [
    "BatchApi",
    "BatchSeen",
    "BatchUnit",
    "BatchView",
    "Bell",
    "Catalogue",
    "Claude",
    "Fetcher",
    "Group",
    "Hold",
    "Item",
    "JobFilter",
    "Parcel",
    "Posted",
    "Prompt",
    "ReadyQueue",
    "ResultsAway",
    "Sender",
    "Shelf",
    "Stop",
    "Store",
    "Unit",
    "View",
    "WorkerSeen",
]
