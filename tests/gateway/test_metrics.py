"""What a scrape says after a node's rooms and broker reported."""

import math

from prometheus_client.parser import text_string_to_metric_families

from broker.observe import Observer
from gateway.metrics import LATENCY_BUCKETS_S, MAX_LABEL_VALUES, Metrics, Tally


def scrape(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_a_socket_is_counted_while_it_is_open_and_by_the_code_it_closed_with() -> None:
    metrics = Metrics()
    metrics.connection_opened("realtime")
    metrics.connection_opened("realtime")
    metrics.connection_closed("realtime", 1012)

    samples = scrape(metrics)

    assert samples["headrace_connections", (("face", "realtime"),)] == 1
    assert samples["headrace_connections_opened_total", (("face", "realtime"),)] == 2
    assert samples["headrace_connections_closed_total", (("code", "1012"), ("face", "realtime"))] == 1


def test_only_stored_messages_count_as_published() -> None:
    metrics = Metrics()
    metrics.published("ok", 3)
    metrics.published("duplicate", 3)
    metrics.published("too_large", 1)

    samples = scrape(metrics)

    assert samples["headrace_published_messages_total", ()] == 3
    assert samples["headrace_publishes_total", (("result", "duplicate"),)] == 1
    assert samples["headrace_publishes_total", (("result", "too_large"),)] == 1


def test_the_brokers_reports_arrive_under_their_names() -> None:
    metrics = Metrics()
    observer: Observer = metrics
    observer.appended(5, 0.002)
    observer.delivered(7)
    observer.delivered(1)
    observer.gap_repaired("watchdog")
    observer.left_feed()
    observer.trimmed(11)
    metrics.refused("forbidden")

    samples = scrape(metrics)

    assert samples["headrace_append_requests_total", ()] == 5
    assert samples["headrace_append_duration_seconds_count", ()] == 1
    assert samples["headrace_deliveries_total", ()] == 8
    assert samples["headrace_gap_repairs_total", (("reason", "watchdog"),)] == 1
    assert samples["headrace_left_feed_total", ()] == 1
    assert samples["headrace_trimmed_messages_total", ()] == 11
    assert samples["headrace_refusals_total", (("code", "forbidden"),)] == 1


def test_a_histogram_is_cumulative_and_a_bound_includes_itself() -> None:
    metrics = Metrics()
    for seconds in (LATENCY_BUCKETS_S[0], 0.004, 99.0):
        metrics.delivery_latency(seconds)

    samples = scrape(metrics)
    bucket = "headrace_delivery_latency_seconds_bucket"

    assert samples[bucket, (("le", "0.001"),)] == 1
    assert samples[bucket, (("le", "0.005"),)] == 2
    assert samples[bucket, (("le", "10.0"),)] == 2
    assert samples[bucket, (("le", "+Inf"),)] == 3
    assert math.isclose(samples["headrace_delivery_latency_seconds_sum", ()], LATENCY_BUCKETS_S[0] + 99.004)


def test_a_clock_ahead_of_ours_makes_no_negative_latency() -> None:
    metrics = Metrics()
    metrics.delivery_latency(-4.0)

    assert scrape(metrics)["headrace_delivery_latency_seconds_sum", ()] == 0


def test_labels_that_peers_choose_end_in_other() -> None:
    tally = Tally()
    for code in range(MAX_LABEL_VALUES + 10):
        tally.add(1, "realtime", str(code))

    assert len(tally.counts) == MAX_LABEL_VALUES + 1
    assert tally.counts["other", "other"] == 10


def test_a_watched_gauge_is_read_at_each_scrape() -> None:
    metrics = Metrics()
    values = iter((4.0, 9.0))
    metrics.watch("headrace_subscriptions", "Live subscriptions.", lambda: next(values))

    assert scrape(metrics)["headrace_subscriptions", ()] == 4
    assert scrape(metrics)["headrace_subscriptions", ()] == 9


def test_the_node_says_what_it_runs_and_whether_it_drains() -> None:
    metrics = Metrics()
    metrics.draining = True
    metrics.loop_lagged(0.2)

    samples = scrape(metrics)

    assert samples["headrace_draining", ()] == 1
    assert samples["headrace_event_loop_lag_seconds_count", ()] == 1
    assert any(name == "headrace_build_info" for name, _ in samples)
    assert ("process_open_fds", ()) in samples


def test_calls_of_back_ends_are_counted_by_api_and_result() -> None:
    metrics = Metrics()
    metrics.back_end_called("chat", "route", "ok", 0.25)
    metrics.back_end_called("chat", "route", "timed_out", 1.0)
    samples = scrape(metrics)
    labels = (("api", "chat"), ("kind", "route"), ("result", "timed_out"))
    assert samples["headrace_back_end_calls_total", labels] == 1
    assert samples["headrace_back_end_duration_seconds_sum", ()] == 1.25
