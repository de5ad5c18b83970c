"""Metrics and reports in ARGO's form (contract ams.md 4.1 and 4.10). Pure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from broker.errors import InvalidRequest
from broker.traffic import DAY_MS, between, day_of
from gateway.ams.wire import zulu_seconds

SHOWN_DAYS = 30
"""Days of a series, the newest."""

NEVER = "0001-01-01T00:00:00Z"

EPOCH = date(1970, 1, 1)

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

Document = dict[str, object]
Point = tuple[str, int | float]

_DESCRIPTIONS = {
    "topic.number_of_subscriptions": "Counter that displays the number of subscriptions belonging to a specific topic",
    "topic.number_of_messages": "Counter that displays the number of messages published to the specific topic",
    "topic.number_of_bytes": "Counter that displays the total size of data (in bytes) published to the specific topic",
    "topic.number_of_daily_messages": "A collection of counters that represents the total number of messages "
    "published each day to a specific topic",
    "topic.publishing_rate": "A rate that displays how many messages were published per second between the last two "
    "publish events",
    "subscription.number_of_messages": "Counter that displays the number of messages consumed from the specific "
    "subscription",
    "subscription.number_of_bytes": "Counter that displays the total size of data (in bytes) consumed from the "
    "specific subscription",
    "subscription.consumption_rate": "A rate that displays how many messages were consumed per second between the last "
    "two consume events",
    "project.number_of_topics": "Counter that displays the number of topics belonging to the specific project",
    "project.number_of_subscriptions": "Counter that displays the number of subscriptions belonging to the specific "
    "project",
    "project.user.number_of_topics": "Counter that displays the number of topics that a user has access to the "
    "specific project",
    "project.user.number_of_subscriptions": "Counter that displays the number of subscriptions that a user has access "
    "to the specific project",
    "project.number_of_daily_messages": "A collection of counters that represents the total number of messages "
    "published each day to all of the project's topics",
    "ams_node.cpu_usage": "Percentage value that displays the CPU usage of ams service in the specific node",
    "ams_node.memory_usage": "Percentage value that displays the Memory usage of ams service in the specific node",
}


def counter(metric: str, resource: str, value: int, *, at: str) -> Document:
    return _metric(metric, "counter", "int64", resource, [(at, value)])


def series(metric: str, resource: str, days: Mapping[int, int]) -> Document:
    """The newest days, newest first."""
    newest = sorted(days.items(), reverse=True)[:SHOWN_DAYS]
    return _metric(metric, "counter", "int64", resource, [(shown_day(day), count) for day, count in newest])


def rate(metric: str, resource: str, value: float, *, at_ms: int) -> Document:
    """`at_ms` is when something happened last, 0 for never."""
    return _metric(metric, "rate", "float64", resource, [(zulu_seconds(at_ms) if at_ms else NEVER, value)])


def percentage(metric: str, resource: str, value: float, *, at: str) -> Document:
    return _metric(metric, "percentage", "float64", resource, [(at, value)])


def _metric(metric: str, kind: str, value_type: str, resource: str, points: Iterable[Point]) -> Document:
    return {
        "metric": metric,
        "metric_type": kind,
        "value_type": value_type,
        "resource_type": metric.rpartition(".")[0],
        "resource_name": resource,
        "timeseries": [{"timestamp": timestamp, "value": value} for timestamp, value in points],
        "description": _DESCRIPTIONS[metric],
    }


def shown_day(day: int) -> str:
    return (EPOCH + timedelta(days=day)).isoformat()


# Reports.


@dataclass(frozen=True, slots=True)
class Window:
    """Days from `first` to `last`, both included."""

    first: int
    last: int

    @property
    def days(self) -> int:
        return self.last - self.first + 1

    def holds(self, time_ms: int) -> bool:
        return self.first * DAY_MS <= time_ms < (self.last + 1) * DAY_MS


def read_window(start: str, end: str, *, now_ms: int) -> Window:
    """Read `start_date` and `end_date`, empty where absent: since 1970, until today. Raises `InvalidRequest`."""
    first = _day(start, "Start date is not in valid format") if start else 0
    last = _day(end, "End date is not in valid format") if end else day_of(now_ms)
    if first > last:
        raise InvalidRequest("Start date cannot be after the end date")
    return Window(first, last)


def _day(text: str, refusal: str) -> int:
    try:
        if _DATE.fullmatch(text):
            return (date.fromisoformat(text) - EPOCH).days
    except ValueError:
        pass
    raise InvalidRequest(refusal)


@dataclass(frozen=True, slots=True)
class Activity:
    """One project: its messages by day, and when each of its resources was created, in ms."""

    project: str
    days: Mapping[int, int]
    topics_ms: Sequence[int]
    subscriptions_ms: Sequence[int]
    users_ms: Sequence[int]


def report(activities: Iterable[Activity], window: Window, *, users_ms: Iterable[int]) -> Document:
    """Return the report on value added; `users_ms` are the creations of all users that count, each once."""
    rows: list[Document] = []
    messages, average, topics, subscriptions = 0, 0.0, 0, 0
    for activity in activities:
        created_topics, created_subscriptions = (
            _within(activity.topics_ms, window),
            _within(activity.subscriptions_ms, window),
        )
        topics, subscriptions = topics + created_topics, subscriptions + created_subscriptions
        count = between(activity.days, window.first, window.last)
        if not count:
            continue
        daily_average = _rounded_up(count, window.days)
        messages, average = messages + count, average + daily_average
        rows.append(
            {
                "project": activity.project,
                "message_count": count,
                "average_daily_messages": daily_average,
                "topics_count": created_topics,
                "subscriptions_count": created_subscriptions,
                "users_count": _within(activity.users_ms, window),
            }
        )
    totals = {"projects": rows, "total_message_count": messages, "average_daily_messages": round(average, 2)}
    return {
        "projects_metrics": totals,
        "total_users_count": _within(users_ms, window),
        "total_topics_count": topics,
        "total_subscriptions_count": subscriptions,
    }


def _within(times_ms: Iterable[int], window: Window) -> int:
    return sum(window.holds(time_ms) for time_ms in times_ms)


def _rounded_up(count: int, days: int) -> float:
    """To two decimals."""
    return math.ceil(count * 100 / days) / 100
