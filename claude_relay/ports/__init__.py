"""Ports: Protocols for everything outside the package. `wiring` chooses the adapters. They are imported when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
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

__getattr__ = lazy_names(
    __name__,
    {
        ".core.jobs.job_filter": ("JobFilter",),
        "claude": (
            "BatchApi",
            "BatchRequest",
            "BatchStatus",
            "CallRequest",
            "Claude",
            "ModelLister",
            "ResultsUnavailable",
            "Stop",
            "UploadCache",
        ),
        "http": (
            "Fetcher",
            "Sender",
        ),
        "notifier": (
            "Listener",
            "NoNotifier",
            "Notifier",
            "ReadyQueue",
            "TextPiece",
            "TextSink",
            "TextSource",
        ),
        "records": (
            "BatchItem",
            "FinishedJob",
            "Group",
            "LostStore",
            "RunningCall",
            "WorkerHeartbeat",
        ),
        "store": (
            "Ahead",
            "BatchReads",
            "BatchWrites",
            "ReadTransaction",
            "Store",
            "Transaction",
        ),
        "tracing": (
            "NoTracer",
            "Span",
            "Tracer",
        ),
        "write_options": ("WriteOptions",),
    },
)
