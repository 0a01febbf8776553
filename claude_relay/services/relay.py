"""The facade of the use cases: the one entry for the HTTP API, the command line and the worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..core.keys import ADMIN
from .context import Context, UuidFactory
from .model_catalog import CachedModelCatalog
from .random_source import BufferedSystemRandom

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from ..core.clock_step import Clocks
    from ..core.deliveries.delivery import Delivery
    from ..core.jobs.job import Job
    from ..core.jobs.submission import Submission
    from ..core.models.catalog import ModelCatalog
    from ..core.money.prices import PriceList
    from ..core.policy import Policy
    from ..errors import RelayError
    from ..ports import Group, Notifier, Store
    from .acks import Acks
    from .admission import Admission
    from .alerts import Alerts
    from .batches import Batches
    from .bulk import BulkRequests
    from .collection_actions import CollectionActions
    from .collection_results import CollectionResults
    from .collections import Collections
    from .dashboard import DashboardQueries
    from .deliveries import Deliveries
    from .destination_control import DestinationControl
    from .estimates import Estimates
    from .event_feed import EventFeed
    from .execution import Execution
    from .fetched_files import FetchedFiles
    from .gone_endpoints import GoneEndpoints
    from .job_actions import JobActions
    from .keys import Keys
    from .maintenance import Maintenance
    from .metrics import Metrics
    from .queries import Queries
    from .queue_control import QueueControl
    from .submit import Submitter
    from .templates import Templates
    from .types import Accepted, JobRef
    from .uploaded_files import UploadedFiles

#: The use cases: the module and class of each, and what it is made with. They are imported and made when they are
#: first used: a command needs one or two of them.
_USE_CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "acks": ("acks", "Acks", ("_context",)),
    "alerts": ("alerts", "Alerts", ("_context",)),
    "batches": ("batches", "Batches", ("_context",)),
    "bulk": ("bulk", "BulkRequests", ("_context", "_submitter", "_job_actions", "queries", "templates")),
    "collection_actions": ("collection_actions", "CollectionActions", ("_context",)),
    "collection_results": ("collection_results", "CollectionResults", ("_context",)),
    "collections": ("collections", "Collections", ("_context", "_admission", "templates", "_gone_endpoints")),
    "dashboard": ("dashboard", "DashboardQueries", ("_context",)),
    "deliveries": ("deliveries", "Deliveries", ("_context", "_gone_endpoints")),
    "destinations": ("destination_control", "DestinationControl", ("_context",)),
    "estimates": ("estimates", "Estimates", ("queries", "templates")),
    "event_feed": ("event_feed", "EventFeed", ("_store",)),
    "execution": ("execution", "Execution", ("_context",)),
    "fetched_files": ("fetched_files", "FetchedFiles", ("_context",)),
    "keys": ("keys", "Keys", ("_context",)),
    "maintenance": ("maintenance", "Maintenance", ("_context",)),
    "metrics": ("metrics", "Metrics", ("_store",)),
    "queries": ("queries", "Queries", ("_context",)),
    "templates": ("templates", "Templates", ("_context",)),
    "uploaded_files": ("uploaded_files", "UploadedFiles", ("_context",)),
    "_admission": ("admission", "Admission", ("_store", "policy")),
    "_gone_endpoints": ("gone_endpoints", "GoneEndpoints", ("_store",)),
    "_job_actions": ("job_actions", "JobActions", ("_context",)),
    "_queue_control": ("queue_control", "QueueControl", ("_context",)),
    "_submitter": ("submit", "Submitter", ("_context", "_admission", "_gone_endpoints")),
}
#: Those that look at the disk.
_WITH_DISK = ("alerts", "_admission")


class Relay:
    """
    Submit, cancel, retry, redeliver, pause, drain and resume; its attributes hold the other use cases by who uses them.

    `queries`, `bulk`, `estimates`, `templates`, `keys`, `event_feed`, `metrics`: API and command line. `dashboard`:
    its pages. `execution`, `fetched_files`, `uploaded_files`: the worker's calls. `batches`: its batch runner.
    `deliveries`: its delivery sender. `maintenance`: its housekeeping. `acks`: webhook receivers. `alerts`: the alert
    sender. `model_catalog`: the models, for intake.
    """

    if TYPE_CHECKING:
        acks: Acks
        alerts: Alerts
        batches: Batches
        bulk: BulkRequests
        collection_actions: CollectionActions
        collection_results: CollectionResults
        collections: Collections
        dashboard: DashboardQueries
        deliveries: Deliveries
        destinations: DestinationControl
        estimates: Estimates
        event_feed: EventFeed
        execution: Execution
        fetched_files: FetchedFiles
        keys: Keys
        maintenance: Maintenance
        metrics: Metrics
        queries: Queries
        templates: Templates
        uploaded_files: UploadedFiles
        _admission: Admission
        _gone_endpoints: GoneEndpoints
        _job_actions: JobActions
        _queue_control: QueueControl
        _submitter: Submitter

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        policy: Policy,
        *,
        rng: random.Random | None = None,
        disk_problem: Callable[[], str | None] = lambda: None,
        model_catalog: Callable[[], ModelCatalog] | None = None,
        prices: PriceList | None = None,
        read_clocks: Callable[[], Clocks] | None = None,
        on_clock_step: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """
        `disk_problem` says why the disk cannot take more, or None.

        With `read_clocks`, relative times move along when the wall clock is set; `on_clock_step` gets the seconds.
        """
        rng = rng or BufferedSystemRandom()
        # Use the raw store: the catalog is read inside write transactions, where the clock-checking wrapper would
        # deadlock.
        self.model_catalog = model_catalog or CachedModelCatalog(store)
        if read_clocks is not None:
            from .clock_step import ClockStepStore

            store = ClockStepStore(store, read_clocks, on_step=on_clock_step)
        if prices is None:
            from ..core.money.prices import PriceList

            prices = PriceList(dated="")
        self._store = store
        self._disk_problem = disk_problem
        self._context = Context(
            store=store,
            notifier=notifier,
            policy=policy,
            rng=rng,
            id_factory=UuidFactory(rng),
            prices=prices,
            model_catalog=self.model_catalog,
        )
        self.policy = policy
        self._making = threading.RLock()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A use case that is used for the first time; one instance for all threads."""
            if name not in _USE_CASES:
                raise AttributeError(f"{type(self).__name__} has no attribute {name}")
            module, class_name, needs = _USE_CASES[name]
            with self._making:
                if name not in self.__dict__:
                    make = getattr(import_module(f".{module}", __package__), class_name)
                    disk = {"disk_problem": self._disk_problem} if name in _WITH_DISK else {}
                    self.__dict__[name] = make(*(getattr(self, each) for each in needs), **disk)

            return self.__dict__[name]

    def load(self) -> None:
        """Import and make every use case, for a daemon: its first request shall not wait for that."""
        for name in _USE_CASES:
            getattr(self, name)

    def submit(self, submission: Submission, *, owner: str = ADMIN) -> Accepted:
        """
        Store a job: when this returns it is on disk.

        The same requestId with the same body returns the existing job; with another body it is a `Conflict`. Raises
        `QueueFull` or `StoreUnavailable` where the job cannot be stored now.
        """
        return self._submitter.submit(submission, owner=owner)

    def submit_many(self, submissions: Sequence[Submission], *, owner: str = ADMIN) -> Sequence[Accepted | RelayError]:
        """
        Store several jobs in one commit; each gets its own result or error.

        When the queue or the disk is full, only new jobs are refused: duplicates still return the existing job.
        """
        return self._submitter.submit_many(submissions, owner=owner)

    def cancel(self, ref: JobRef) -> Job:
        """Stop a job, also in mid-stream; raises `Conflict` once it has ended."""
        return self._job_actions.cancel(ref)

    def retry(self, ref: JobRef, *, options: dict[str, Any] | None = None, model: str | None = None) -> Job:
        """Run a job again, which costs tokens. `options`, already parsed, replace the stored ones by name."""
        return self._job_actions.retry(ref, options=options, model=model)

    def redeliver(self, ref: JobRef, *, url: str | None = None) -> Delivery:
        """Send the stored outcome again, also to another URL: free. `Conflict` without an outcome or a webhook."""
        return self._job_actions.redeliver(ref, url=url)

    def pause(self, group: str | None = None) -> None:
        """Claim no more jobs of that group, or (None) of any. Running jobs go on."""
        self._queue_control.pause(group)

    def resume(self, group: str | None = None) -> None:
        """Claim jobs again; default deadlines are extended by the time that the pause blocked them."""
        self._queue_control.resume(group)
        self._admission.recheck()

    def drain(self, *, run_waiting: bool = False) -> None:
        """
        Accept no more jobs until `resume`; running calls and due callbacks go on, `overview` says when all is idle.

        Unless `run_waiting`, jobs that wait stay where they are.
        """
        self._queue_control.drain(run_waiting=run_waiting)
        self._admission.recheck()

    def set_group(self, name: str, *, concurrency: int | None, rate: float | None) -> Group:
        """Set the maximum of running jobs of a group, and of its starts per minute; None: no limit."""
        return self._queue_control.set_group(name, concurrency=concurrency, rate=rate)

    def backup(self, target: Path) -> None:
        """Write a consistent copy of the complete store while work goes on."""
        self._store.backup(target)

    def close(self) -> None:
        """Finish pending writes and close the store and the notifier."""
        self._store.close()
        self._context.notifier.close()
