"""Ports: Protocols for everything outside the package. `wiring` chooses the adapters."""

from ..core.jobs.job_filter import JobFilter
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
from .notifier import Listener, NoNotifier, Notifier, ReadyQueue, TextPiece, TextSink, TextSource
from .records import BatchItem, FinishedJob, Group, LostStore, RunningCall, WorkerHeartbeat
from .store import Ahead, BatchReads, BatchWrites, ReadTransaction, Store, Transaction
from .tracing import NoTracer, Span, Tracer
from .write_options import WriteOptions

__all__ = [
    "Ahead",
    "BatchApi",
    "BatchItem",
    "BatchReads",
    "BatchRequest",
    "BatchStatus",
    "BatchWrites",
    "CallRequest",
    "Claude",
    "Fetcher",
    "FinishedJob",
    "Group",
    "JobFilter",
    "Listener",
    "LostStore",
    "ModelLister",
    "NoNotifier",
    "NoTracer",
    "Notifier",
    "ReadTransaction",
    "ReadyQueue",
    "ResultsUnavailable",
    "RunningCall",
    "Sender",
    "Span",
    "Stop",
    "Store",
    "TextPiece",
    "TextSink",
    "TextSource",
    "Tracer",
    "Transaction",
    "UploadCache",
    "WorkerHeartbeat",
    "WriteOptions",
]
