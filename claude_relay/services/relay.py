"""The facade of the use cases: the one entry for the HTTP API, the command line and the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..core.keys import ADMIN
from .context import Context, UuidFactory
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
    from .search_index import SearchIndex
    from .submit import Submitter
    from .templates import Templates
    from .types import Accepted, JobRef, PreparedSubmit
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
        if model_catalog is None:
            from .model_catalog import CachedModelCatalog

            model_catalog = CachedModelCatalog(store)
        self.model_catalog = model_catalog
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

    def load(self) -> None:
        """Import and make every use case, for a daemon: its first request shall not wait, and its threads share one."""
        for name, value in vars(type(self)).items():
            if isinstance(value, cached_property):
                getattr(self, name)

    def submit(self, submission: Submission, *, owner: str = ADMIN) -> Accepted:
        """
        Store a job: when this returns it is on disk.

        The same requestId with the same body returns the existing job; with another body it is a `Conflict`. Raises
        `QueueFull` or `StoreUnavailable` where the job cannot be stored now.
        """
        return self._submitter.submit(submission, owner=owner)

    def prepare_submit(self, submission: Submission, *, owner: str, now: float) -> PreparedSubmit | None:
        """Admit a job that is stored without a thread that waits for it; None for one that `submit` must answer."""
        return self._submitter.prepare(submission, owner=owner, now=now)

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

    def clock(self) -> float:
        """The time of the store, which several machines share: for what is compared with times in it."""
        return self._store.clock()

    def close(self) -> None:
        """Finish pending writes and close the store and the notifier."""
        self._store.close()
        self._context.notifier.close()

    # The use cases, imported and made when they are first used: a command needs one or two of them.

    @cached_property
    def queries(self) -> Queries:
        from .queries import Queries

        return Queries(self._context)

    @cached_property
    def bulk(self) -> BulkRequests:
        from .bulk import BulkRequests

        return BulkRequests(self._context, self._submitter, self._job_actions, self.queries, self.templates)

    @cached_property
    def estimates(self) -> Estimates:
        from .estimates import Estimates

        return Estimates(self.queries, self.templates)

    @cached_property
    def templates(self) -> Templates:
        from .templates import Templates

        return Templates(self._context)

    @cached_property
    def keys(self) -> Keys:
        from .keys import Keys

        return Keys(self._context)

    @cached_property
    def event_feed(self) -> EventFeed:
        from .event_feed import EventFeed

        return EventFeed(self._store)

    @cached_property
    def metrics(self) -> Metrics:
        from .metrics import Metrics

        return Metrics(self._store)

    @cached_property
    def dashboard(self) -> DashboardQueries:
        from .dashboard import DashboardQueries

        return DashboardQueries(self._context)

    @cached_property
    def destinations(self) -> DestinationControl:
        from .destination_control import DestinationControl

        return DestinationControl(self._context)

    @cached_property
    def collections(self) -> Collections:
        from .collections import Collections

        return Collections(self._context, self._admission, self.templates, self._gone_endpoints)

    @cached_property
    def collection_actions(self) -> CollectionActions:
        from .collection_actions import CollectionActions

        return CollectionActions(self._context)

    @cached_property
    def collection_results(self) -> CollectionResults:
        from .collection_results import CollectionResults

        return CollectionResults(self._context)

    @cached_property
    def execution(self) -> Execution:
        from .execution import Execution

        return Execution(self._context)

    @cached_property
    def fetched_files(self) -> FetchedFiles:
        from .fetched_files import FetchedFiles

        return FetchedFiles(self._context)

    @cached_property
    def uploaded_files(self) -> UploadedFiles:
        from .uploaded_files import UploadedFiles

        return UploadedFiles(self._context)

    @cached_property
    def batches(self) -> Batches:
        from .batches import Batches

        return Batches(self._context)

    @cached_property
    def deliveries(self) -> Deliveries:
        from .deliveries import Deliveries

        return Deliveries(self._context, self._gone_endpoints)

    @cached_property
    def acks(self) -> Acks:
        from .acks import Acks

        return Acks(self._context)

    @cached_property
    def maintenance(self) -> Maintenance:
        from .maintenance import Maintenance

        return Maintenance(self._context)

    @cached_property
    def search_index(self) -> SearchIndex:
        from .search_index import SearchIndex

        return SearchIndex(self._context)

    @cached_property
    def alerts(self) -> Alerts:
        from .alerts import Alerts

        return Alerts(self._context, disk_problem=self._disk_problem)

    @cached_property
    def _admission(self) -> Admission:
        from .admission import Admission

        return Admission(self._store, self.policy, disk_problem=self._disk_problem)

    @cached_property
    def _gone_endpoints(self) -> GoneEndpoints:
        from .gone_endpoints import GoneEndpoints

        return GoneEndpoints(self._store)

    @cached_property
    def _submitter(self) -> Submitter:
        from .submit import Submitter

        return Submitter(self._context, self._admission, self._gone_endpoints)

    @cached_property
    def _job_actions(self) -> JobActions:
        from .job_actions import JobActions

        return JobActions(self._context)

    @cached_property
    def _queue_control(self) -> QueueControl:
        from .queue_control import QueueControl

        return QueueControl(self._context)
