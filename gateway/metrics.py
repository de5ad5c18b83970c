"""Prometheus metrics of a node: plain integers on the hot paths, made into families when somebody asks.

`Metrics` is the broker's `Observer` and what the rooms report connections and refusals to. The names and their units
follow https://prometheus.io/docs/practices/naming/. Labels are words from short lists; a list that a peer can lengthen
(close codes) ends in `other`. Nothing here holds a topic, a caller's name or a payload.
"""

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

MAX_LABEL_VALUES = 64
"""Values of one label before the rest is counted as `other`: a peer may close with any code of 4000-4999."""

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds in seconds, from a local append to the publish deadline."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format, which `Metrics.text` writes."""


class Tally:
    """Counts by label values, at most `MAX_LABEL_VALUES` of them."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], int] = {}

    def add(self, amount: int, *labels: str) -> None:
        counts = self.counts
        if labels not in counts and len(counts) >= MAX_LABEL_VALUES:
            labels = ("other",) * len(labels)
        counts[labels] = counts.get(labels, 0) + amount


class Histogram:
    """A histogram without locks: the node has one thread that observes."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return cumulative counts by upper bound, as the text format wants them."""
        reached = 0
        rows: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, LATENCY_BUCKETS_S), "+Inf"), self.counts, strict=True):
            reached += count
            rows.append((bound, reached))
        return rows


class Metrics:
    """Counts of one node. Every call is a few integer operations and never raises."""

    def __init__(self) -> None:
        self.connections = Tally()
        self.opened = Tally()
        self.closed = Tally()
        self.publishes = Tally()
        self.refusals = Tally()
        self.back_end_calls = Tally()
        self.back_end_duration = Histogram()
        self.gap_repairs = Tally()
        self.append_duration = Histogram()
        self.latency = Histogram()
        self.loop_lag = Histogram()
        self.published_messages = 0
        self.append_requests = 0
        self.deliveries = 0
        self.left_feeds = 0
        self.trimmed_messages = 0
        self.draining = False
        self.watched: list[tuple[str, str, Callable[[], float]]] = []
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(_Families(self))

    # What the rooms report.

    def connection_opened(self, face: str) -> None:
        """A socket of `face` (`realtime`, `sse`, `http`) was accepted."""
        self.connections.add(1, face)
        self.opened.add(1, face)

    def connection_closed(self, face: str, code: int | str) -> None:
        """A socket that was reported as opened is gone, with its close code or a word."""
        self.connections.add(-1, face)
        self.closed.add(1, face, str(code))

    def refused(self, code: str) -> None:
        """A caller got a refusal with this stable word, on any face."""
        self.refusals.add(1, code)

    def back_end_called(self, api: str, kind: str, result: str, seconds: float) -> None:
        """A back end of an API was called, for a `route` or as an `authorizer`; `result` is a stable word."""
        self.back_end_calls.add(1, api, kind, result)
        self.back_end_duration.observe(seconds)

    def loop_lagged(self, seconds: float) -> None:
        """The event loop came back so much later than asked."""
        self.loop_lag.observe(seconds)

    def watch(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Show the gauge `name`, whose value `read` returns at each scrape."""
        self.watched.append((name, documentation, read))

    # What the broker reports: `broker.observe.Observer`.

    def published(self, result: str, messages: int) -> None:
        self.publishes.add(1, result)
        if result == "ok":
            self.published_messages += messages

    def appended(self, requests: int, seconds: float) -> None:
        self.append_requests += requests
        self.append_duration.observe(seconds)

    def delivered(self, frames: int) -> None:
        self.deliveries += frames

    def delivery_latency(self, seconds: float) -> None:
        # Publish time is the clock of Redis' machine; a clock behind ours by a little must not make a negative sum.
        self.latency.observe(max(seconds, 0.0))

    def gap_repaired(self, reason: str) -> None:
        self.gap_repairs.add(1, reason)

    def left_feed(self) -> None:
        self.left_feeds += 1

    def trimmed(self, messages: int) -> None:
        self.trimmed_messages += messages

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)


class _Families(Collector):
    """Turns a node's integers into Prometheus families at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("headrace_build", "What runs here.", build())
        yield from self._connections()
        yield from self._publishing()
        yield from self._delivery()
        yield from self._back_ends()
        yield from self._node()

    def _connections(self) -> Iterable[Metric]:
        m = self._metrics
        yield _gauges("headrace_connections", "Open client sockets.", ("face",), m.connections)
        yield _counters("headrace_connections_opened", "Sockets accepted.", ("face",), m.opened)
        yield _counters("headrace_connections_closed", "Sockets gone, by close code.", ("face", "code"), m.closed)
        yield _counters("headrace_refusals", "Refusals by stable code.", ("code",), m.refusals)

    def _publishing(self) -> Iterable[Metric]:
        m = self._metrics
        yield _counters("headrace_publishes", "Publish requests by outcome.", ("result",), m.publishes)
        yield _counter("headrace_published_messages", "Messages stored.", m.published_messages)
        yield _counter("headrace_append_requests", "Publish requests merged into appends.", m.append_requests)
        yield _histogram("headrace_append_duration_seconds", "Time of one append call.", m.append_duration)
        yield _counter("headrace_trimmed_messages", "Messages removed by retention.", m.trimmed_messages)

    def _delivery(self) -> Iterable[Metric]:
        m = self._metrics
        yield _counter("headrace_deliveries", "Message frames handed to sockets.", m.deliveries)
        yield _histogram("headrace_delivery_latency_seconds", "Publish time to the first socket, by batch.", m.latency)
        yield _counters("headrace_gap_repairs", "Feeds that found unannounced messages.", ("reason",), m.gap_repairs)
        yield _counter("headrace_left_feed", "Slow sockets that went to catch up from the log.", m.left_feeds)

    def _back_ends(self) -> Iterable[Metric]:
        m, labels = self._metrics, ("api", "kind", "result")
        yield _counters("headrace_back_end_calls", "Calls of API Gateway back ends.", labels, m.back_end_calls)
        yield _histogram("headrace_back_end_duration_seconds", "Time of such a call.", m.back_end_duration)

    def _node(self) -> Iterable[Metric]:
        m = self._metrics
        yield _histogram("headrace_event_loop_lag_seconds", "How late the event loop turns.", m.loop_lag)
        yield GaugeMetricFamily("headrace_draining", "1 while the node is going away.", float(m.draining))
        for name, documentation, read in m.watched:
            yield GaugeMetricFamily(name, documentation, read())


def build() -> dict[str, str]:
    """Return what `headrace_build_info` says: our version and Python's."""
    return {"version": node_version(), "python": platform.python_version()}


def node_version() -> str:
    """Return the installed distribution's version, `unknown` when run from a tree that is not installed."""
    try:
        return version("headrace-server")
    except PackageNotFoundError:
        return "unknown"


def _counter(name: str, documentation: str, value: int) -> Metric:
    return CounterMetricFamily(name, documentation, value)


def _counters(name: str, documentation: str, labels: Sequence[str], tally: Tally) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, count in tally.counts.items():
        family.add_metric(values, count)
    return family


def _gauges(name: str, documentation: str, labels: Sequence[str], tally: Tally) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for values, count in tally.counts.items():
        family.add_metric(values, count)
    return family


def _histogram(name: str, documentation: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, documentation, buckets=histogram.buckets(), sum_value=histogram.total)
