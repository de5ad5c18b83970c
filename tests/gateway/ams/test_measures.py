"""Metrics and reports in ARGO's form, as tables."""

import pytest

from broker.errors import InvalidRequest
from broker.traffic import DAY_MS
from gateway.ams.measures import NEVER, Activity, Window, counter, rate, read_window, report, series

DAY = 18_000
"""2019-04-14"""


def test_a_counter_names_its_resource() -> None:
    assert counter("topic.number_of_messages", "t", 5, at="2019-04-14T00:00:00Z") == {
        "metric": "topic.number_of_messages",
        "metric_type": "counter",
        "value_type": "int64",
        "resource_type": "topic",
        "resource_name": "t",
        "timeseries": [{"timestamp": "2019-04-14T00:00:00Z", "value": 5}],
        "description": "Counter that displays the number of messages published to the specific topic",
    }
    assert counter("project.user.number_of_topics", "p.ann", 1, at="")["resource_type"] == "project.user"


def test_a_series_has_the_newest_days_first() -> None:
    shown = series("topic.number_of_daily_messages", "t", {DAY - age: age + 1 for age in range(40)})["timeseries"]
    assert isinstance(shown, list)
    assert shown[:2] == [{"timestamp": "2019-04-14", "value": 1}, {"timestamp": "2019-04-13", "value": 2}]
    assert len(shown) == 30


def test_a_rate_without_an_event_is_of_the_year_one() -> None:
    assert rate("topic.publishing_rate", "t", 0.0, at_ms=0)["timeseries"] == [{"timestamp": NEVER, "value": 0.0}]
    assert rate("topic.publishing_rate", "t", 2.5, at_ms=DAY * DAY_MS)["timeseries"] == [
        {"timestamp": "2019-04-14T00:00:00Z", "value": 2.5}
    ]


@pytest.mark.parametrize(
    ("start", "end", "window"),
    [
        ("", "", Window(0, DAY)),
        ("2019-04-01", "", Window(DAY - 13, DAY)),
        ("", "1970-01-02", Window(0, 1)),
        ("2019-04-14", "2019-04-14", Window(DAY, DAY)),
    ],
)
def test_a_window(start: str, end: str, window: Window) -> None:
    assert read_window(start, end, now_ms=DAY * DAY_MS + 5) == window


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("yesterday", "", "Start date is not in valid format"),
        ("2019-4-1", "", "Start date is not in valid format"),
        ("2019-02-30", "", "Start date is not in valid format"),
        ("", "20190401", "End date is not in valid format"),
        ("2019-04-02", "2019-04-01", "Start date cannot be after the end date"),
        ("2030-01-01", "", "Start date cannot be after the end date"),
    ],
)
def test_what_is_no_window(start: str, end: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_window(start, end, now_ms=DAY * DAY_MS)


def test_a_report_counts_what_lies_in_its_window() -> None:
    window = Window(DAY, DAY + 2)
    inside, last, after = DAY * DAY_MS, (DAY + 3) * DAY_MS - 1, (DAY + 3) * DAY_MS
    activities = [
        Activity("a", {DAY - 1: 100, DAY: 7, DAY + 2: 3}, [inside, after], [last], [inside, last]),
        Activity("quiet", {DAY - 1: 100}, [inside], [], [inside]),
        Activity("z", {DAY + 1: 1}, [], [inside, inside], []),
    ]
    made = report(activities, window, users_ms=[inside, last, after])
    assert made == {
        "projects_metrics": {
            "projects": [
                {
                    "project": "a",
                    "message_count": 10,
                    "average_daily_messages": 3.34,
                    "topics_count": 1,
                    "subscriptions_count": 1,
                    "users_count": 2,
                },
                {
                    "project": "z",
                    "message_count": 1,
                    "average_daily_messages": 0.34,
                    "topics_count": 0,
                    "subscriptions_count": 2,
                    "users_count": 0,
                },
            ],
            "total_message_count": 11,
            "average_daily_messages": 3.68,
        },
        "total_users_count": 2,
        "total_topics_count": 2,
        "total_subscriptions_count": 3,
    }


def test_a_report_of_nothing() -> None:
    assert report([], Window(0, 1), users_ms=[]) == {
        "projects_metrics": {"projects": [], "total_message_count": 0, "average_daily_messages": 0.0},
        "total_users_count": 0,
        "total_topics_count": 0,
        "total_subscriptions_count": 0,
    }
