"""Metrics at every level, over HTTP."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from http_node import Node, now_ms

from broker.names import parse_topic
from broker.store.base import Retention
from broker.users import UserChange

S = "/projects/p/subscriptions/s"


async def shown(argo: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """Return the values by metric; of a series the list."""
    answer = await argo.get(path)
    assert answer.status_code == 200
    metrics = answer.json()["metrics"]
    return {each["metric"]: [point["value"] for point in each["timeseries"]] for each in metrics}


def today() -> str:
    return datetime.fromtimestamp(now_ms() / 1000, UTC).strftime("%Y-%m-%d")


async def test_a_topics_metrics_are_exact_after_a_trim(argo: httpx.AsyncClient, node: Node) -> None:
    quiet = (await argo.get("/projects/p/topics/t:metrics")).json()["metrics"]
    assert [each["metric"] for each in quiet] == [
        "topic.number_of_subscriptions",
        "topic.number_of_messages",
        "topic.number_of_bytes",
        "topic.number_of_daily_messages",
        "topic.publishing_rate",
    ]
    assert quiet[3]["timeseries"] == []
    assert quiet[4]["timeseries"] == [{"timestamp": "0001-01-01T00:00:00Z", "value": 0.0}]

    await argo.put(S, json={"topic": "projects/p/topics/t"})
    await node.say("p/t", "a", "b")
    node.later(seconds=2)
    await node.say("p/t", "c", "d")
    await node.store.trim(parse_topic("p/t"), Retention(max_messages=1, max_bytes=10**9, max_age_ms=10**9))
    values = await shown(argo, "/projects/p/topics/t:metrics")
    assert values["topic.number_of_subscriptions"] == [1]
    assert values["topic.number_of_messages"] == [4]
    assert values["topic.number_of_bytes"][0] > 4
    assert sum(values["topic.number_of_daily_messages"]) == 4
    assert values["topic.publishing_rate"] == [pytest.approx(1.0, abs=0.1)]


async def test_a_day_begins_a_new_count(argo: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a")
    node.later(seconds=86_400)
    await node.say("p/t", "b", "c")
    for path in ("/projects/p/topics/t:metrics", "/projects/p:metrics"):
        series = (await argo.get(path)).json()["metrics"][-1 if "topics" not in path else 3]["timeseries"]
        assert [point["value"] for point in series] == [2, 1]
        assert series[1]["timestamp"] == today()


async def test_a_subscription_counts_what_it_gave_out(argo: httpx.AsyncClient, node: Node) -> None:
    await argo.put(S, json={"topic": "projects/p/topics/t"})
    await node.say("p/t", "a", "b")
    for _ in range(2):
        await argo.post(f"{S}:pull", json={"maxMessages": 10})
        node.later(seconds=4)
    values = await shown(argo, f"{S}:metrics")
    assert values["subscription.number_of_messages"] == [4]
    assert values["subscription.number_of_bytes"][0] >= 4
    assert values["subscription.consumption_rate"] == [pytest.approx(0.5, abs=0.1)]
    assert list(values) == [
        "subscription.number_of_messages",
        "subscription.number_of_bytes",
        "subscription.consumption_rate",
    ]


async def test_a_projects_counts_do_not_fall_when_a_topic_goes(argo: httpx.AsyncClient, node: Node) -> None:
    await argo.put("/projects/p/topics/other")
    await argo.put(S, json={"topic": "projects/p/topics/t"})
    await node.accounts.create("ann", UserChange(projects=[("p", ["consumer"])]))
    await argo.post(f"{S}:modifyAcl", json={"authorized_users": ["ann"]})
    await node.say("p/t", "a")
    await node.say("p/other", "b", "c")
    before = await shown(argo, "/projects/p:metrics")
    assert before == {
        "project.number_of_topics": [2],
        "project.number_of_subscriptions": [1],
        "project.user.number_of_subscriptions": [1],
        "project.number_of_daily_messages": [3],
    }
    await argo.delete("/projects/p/topics/other")
    after = await shown(argo, "/projects/p:metrics")
    assert (after["project.number_of_topics"], after["project.number_of_daily_messages"]) == ([1], [3])


async def test_counts_go_with_their_project(argo: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a")
    await argo.delete("/projects/p/topics/t")
    await argo.delete("/projects/p")
    await argo.post("/projects/p", json={})
    assert (await shown(argo, "/projects/p:metrics"))["project.number_of_daily_messages"] == []


async def test_the_nodes_own_metrics(argo: httpx.AsyncClient) -> None:
    values = await shown(argo, "/metrics")
    assert list(values) == ["ams_node.cpu_usage", "ams_node.memory_usage"]
    assert all(value >= 0 for (value,) in values.values())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/projects/p/topics/absent:metrics", "Topic doesn't exist"),
        ("/projects/p/subscriptions/absent:metrics", "Subscription doesn't exist"),
        ("/projects/absent:metrics", "project doesn't exist"),
        ("/projects/absent/topics/t:metrics", "project doesn't exist"),
    ],
)
async def test_what_does_not_exist_has_no_metrics(argo: httpx.AsyncClient, path: str, message: str) -> None:
    assert (await argo.get(path)).json()["error"] == {"code": 404, "message": message, "status": "NOT_FOUND"}
