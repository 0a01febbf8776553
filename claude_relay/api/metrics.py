"""`GET /metrics`: the state of the relay for Prometheus, read from the store at each scrape."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import falcon
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from .. import __version__
from ..core import wire
from ..core.collections.collection import STATUSES
from ..core.deliveries.delivery import DeliveryState
from ..core.metrics import (
    ACCEPT_BUCKETS,
    ATTEMPT_OUTCOMES,
    CALL,
    DELIVERY,
    DELIVERY_ATTEMPTS,
    DISK_FREE,
    MAX_NAMES,
    START,
    cumulative,
    limit_names,
)
from ..services import MetricsSnapshot, Relay

_PREFIX = "claude_relay_"
#: A worker counts as missing after this many seconds without a heartbeat.
_SILENCE = 60.0
#: The values of `kind`, with the fields of the spend.
_TOKENS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
}

Values = Mapping[tuple[str, ...], float]


class AcceptTimer:
    """The time until a submit is answered: the one metric of this process alone."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._histogram = Histogram(
            f"{_PREFIX}accept_seconds",
            "Time until a submit is stored and answered, in this process.",
            buckets=ACCEPT_BUCKETS,
            registry=self.registry,
        )

    def observe(self, began: float) -> None:
        """Count a submit that began at that time of `time.perf_counter`."""
        self._histogram.observe(time.perf_counter() - began)


class StoreCollector:
    """A Prometheus collector over the store."""

    def __init__(self, relay: Relay, *, engine: str) -> None:
        self._relay, self._engine = relay, engine

    def describe(self) -> Iterable[Metric]:
        """Nothing: the store is read at a scrape only."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the store once."""
        now = self._relay.metrics.snapshot(MAX_NAMES)
        yield _gauge("build_info", "Version and store.", ("version", "store"), {(__version__, self._engine): 1})
        yield from _jobs(now)
        yield from _counted(now)
        yield from _money(now)
        yield from _deliveries(now)
        yield from _capacity(now)


class Metrics:
    """`GET /metrics` in Prometheus's text format, or as OpenMetrics where that is accepted."""

    def __init__(self, relay: Relay, timer: AcceptTimer, *, engine: str) -> None:
        self._timer = timer
        timer.registry.register(StoreCollector(relay, engine=engine))

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        encoder, content_type = choose_encoder(req.get_header("Accept") or "")
        resp.content_type, resp.data = content_type, encoder(self._timer.registry)


def _jobs(now: MetricsSnapshot) -> Iterator[Metric]:
    by_group: dict[str, float] = defaultdict(float)
    for (_, group), count in now.jobs.items():
        by_group[group] += count
    names = limit_names(by_group)
    jobs: dict[tuple[str, ...], float] = defaultdict(float)
    for (state, group), count in now.jobs.items():
        jobs[wire.STATUS[state], _named(group, names)] += count
    yield _gauge("jobs", "Jobs that are kept, by status.", ("status", "group"), jobs)
    waiting: dict[tuple[str, ...], float] = {(name,): 0.0 for name in dict.fromkeys(group for _, group in jobs)}
    for group, due_at in now.oldest_waiting.items():
        key = (_named(group, names),)
        waiting[key] = max(waiting.get(key, 0.0), now.now - due_at)
    yield _gauge("oldest_waiting_seconds", "How long the oldest due job waits; 0: none does.", ("group",), waiting)


def _counted(now: MetricsSnapshot) -> Iterator[Metric]:
    """The sums of the workers."""
    values: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for (name, label, part), value in now.series:
        values[name][label][part] = value
    # With their zeros: Prometheus sees no increase in a series that begins with its first event.
    attempts: Values = {(outcome,): values[DELIVERY_ATTEMPTS][""].get(outcome, 0.0) for outcome in ATTEMPT_OUTCOMES}
    yield _counter("delivery_attempts", "POSTs of callbacks.", ("outcome",), attempts)
    yield _histogram(START, "Time that a job waited for its turn.", (), values[START])
    yield _histogram(CALL, "Duration of live calls.", ("model",), values[CALL])
    yield _histogram(DELIVERY, "Time from the end of a run to its delivery.", (), values[DELIVERY])
    free = values[DISK_FREE].get("")
    text = "Free space where the workers keep their state."
    yield _gauge("disk_free_bytes", text, (), {} if free is None else {(): free[""]})


def _money(now: MetricsSnapshot) -> Iterator[Metric]:
    """The sums of the ledger, written in the transaction that ends a call: those of a killed worker too."""
    ended: dict[str, float] = defaultdict(float)
    for _, spend in now.spend:
        ended[spend.name] += spend.ended
    names = limit_names(ended)
    calls: dict[tuple[str, ...], float] = defaultdict(float)
    tokens: dict[tuple[str, ...], float] = defaultdict(float)
    cost: dict[tuple[str, ...], float] = defaultdict(float)
    for outcome, spend in now.spend:
        model = _named(spend.name, names)
        calls[model, outcome] += spend.ended
        for kind, name in _TOKENS.items():
            tokens[model, kind] += getattr(spend, name)
        cost[model,] += spend.usd or 0.0
    yield _counter("calls", "Calls of Claude that have ended.", ("model", "outcome"), calls)
    yield _counter("tokens", "Tokens, by kind.", ("model", "kind"), tokens)
    yield _counter("cost_usd", "Known cost in dollars.", ("model",), cost)


def _deliveries(now: MetricsSnapshot) -> Iterator[Metric]:
    states: Values = {(state.value,): now.deliveries.get(state.value, 0) for state in DeliveryState}
    yield _gauge("deliveries", "Callbacks that are kept, by state.", ("state",), states)
    yield _gauge("unacked", "Delivered results whose acknowledgement is missing.", (), {(): now.unacked})
    slowed = {destination.name: destination.slowed for destination in now.destinations}
    healthy = {name: 0.0 for name, failing in slowed.items() if failing}
    for name in now.latest_destinations:
        healthy.setdefault(name, 1.0)
    by_name = dict(list(healthy.items())[:MAX_NAMES])
    if rest := [value for name, value in healthy.items() if name not in by_name]:
        by_name["other"] = min(rest)
    labelled: Values = {(name,): value for name, value in by_name.items()}
    yield _gauge("destination_healthy", "0: its callbacks are slowed down.", ("destination",), labelled)


def _capacity(now: MetricsSnapshot) -> Iterator[Metric]:
    alive = [worker for worker in now.workers if now.now - worker.seen_at < _SILENCE]
    slots, busy = sum(worker.slots for worker in alive), sum(worker.running for worker in alive)
    yield _gauge("workers", "Workers with a heartbeat in the last minute.", (), {(): len(alive)})
    yield _gauge("slots", "Calls that run, and that could.", ("state",), {("busy",): busy, ("free",): slots - busy})
    parked: dict[tuple[str, ...], float] = {(reason,): 1 for reason in now.parked}
    yield _gauge("parked", "1: the whole queue is stopped, and why.", ("reason",), parked or {("none",): 0})
    collections: Values = {(status,): now.collections.get(status, 0) for status in STATUSES}
    yield _gauge("collections", "Collections that are kept, by status.", ("status",), collections)


def _named(name: str, names: Mapping[str, float]) -> str:
    return name if name in names else "other"


def _gauge(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)

    return family


def _counter(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)

    return family


def _histogram(name: str, text: str, labels: Sequence[str], values: Mapping[str, Mapping[str, float]]) -> Metric:
    family = HistogramMetricFamily(_PREFIX + name, text, labels=labels)
    for label, parts in sorted(values.items() if labels else [("", values.get("", {}))]):
        buckets, total = cumulative(name, parts)
        family.add_metric((label,) if labels else (), buckets=buckets, sum_value=total)

    return family
