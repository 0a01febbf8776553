"""The facade of the use cases: the one entry for the HTTP API, the command line and the worker."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.clock_step import Clocks
from ..core.deliveries.delivery import Delivery
from ..core.jobs.job import Job
from ..core.jobs.submission import Submission
from ..core.keys import ADMIN
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
from .clock_step import ClockStepStore
from .collection_actions import CollectionActions
from .collection_results import CollectionResults
from .collections import Collections
from .context import Context, UuidFactory
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
from .model_catalog import CachedModelCatalog
from .queries import Queries
from .queue_control import QueueControl
from .random_source import BufferedSystemRandom
from .search_index import SearchIndex
from .submit import Submitter
from .templates import Templates
from .types import Accepted, JobRef
from .uploaded_files import UploadedFiles


class Relay:
    """
    Submit, cancel, retry, redeliver, pause, drain and resume; its attributes hold the other use cases by who uses them.

    `queries`, `bulk`, `estimates`, `templates`, `keys`, `event_feed`, `metrics`: API and command line. `dashboard`:
    its pages. `execution`, `fetched_files`, `uploaded_files`: the worker's calls. `batches`: its batch runner.
    `deliveries`: its delivery sender. `maintenance`, `search_index`: its housekeeping. `acks`: webhook receivers.
    `alerts`: the alert sender. `model_catalog`: the models, for intake.
    """

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
            store = ClockStepStore(store, read_clocks, on_step=on_clock_step)
        self._store = store
        self._context = context = Context(
            store=store,
            notifier=notifier,
            policy=policy,
            rng=rng,
            id_factory=UuidFactory(rng),
            prices=prices or PriceList(dated=""),
            model_catalog=self.model_catalog,
        )
        self._gone_endpoints = GoneEndpoints(store)
        self._admission = Admission(store, policy, disk_problem=disk_problem)
        self._submitter = Submitter(context, self._admission, self._gone_endpoints)
        self._job_actions = JobActions(context)
        self._queue_control = QueueControl(context)
        self.policy = policy
        self.destinations = DestinationControl(context)
        self.queries = Queries(context)
        self.dashboard = DashboardQueries(context)
        self.templates = Templates(context)
        self.bulk = BulkRequests(context, self._submitter, self._job_actions, self.queries, self.templates)
        self.collections = Collections(context, self._admission, self.templates, self._gone_endpoints)
        self.collection_actions = CollectionActions(context)
        self.collection_results = CollectionResults(context)
        self.estimates = Estimates(self.queries, self.templates)
        self.event_feed = EventFeed(store)
        self.metrics = Metrics(store)
        self.execution = Execution(context)
        self.fetched_files = FetchedFiles(context)
        self.uploaded_files = UploadedFiles(context)
        self.deliveries = Deliveries(context, self._gone_endpoints)
        self.acks = Acks(context)
        self.maintenance = Maintenance(context)
        self.search_index = SearchIndex(context)
        self.alerts = Alerts(context, disk_problem=disk_problem)
        self.keys = Keys(context)
        self.batches = Batches(context)

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
