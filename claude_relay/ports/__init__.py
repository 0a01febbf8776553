"""Ports: Protocols for everything outside the package. `wiring` chooses the adapters."""

from .claude import (
    BatchApi,
    BatchRequest,
    BatchStatus,
    CallRequest,
    Claude,
    ModelLister,
    ResultsUnavailable,
    Stop,
    UploadCache,
)
from .http import Fetcher, Sender
from .notifier import Notifier, ReadyQueue
from .records import BatchItem, Group, JobFilter, WorkerHeartbeat
from .store import BatchReads, BatchWrites, ReadTransaction, Store, Transaction

__all__ = [
    "BatchApi",
    "BatchItem",
    "BatchReads",
    "BatchRequest",
    "BatchStatus",
    "BatchWrites",
    "CallRequest",
    "Claude",
    "Fetcher",
    "Group",
    "JobFilter",
    "ModelLister",
    "Notifier",
    "ReadTransaction",
    "ReadyQueue",
    "ResultsUnavailable",
    "Sender",
    "Stop",
    "Store",
    "Transaction",
    "UploadCache",
    "WorkerHeartbeat",
]
