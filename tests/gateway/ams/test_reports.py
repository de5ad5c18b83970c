"""Reports on value added, over HTTP."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from http_node import Node, now_ms

from broker.users import UserChange

VA, USAGE = "/metrics/va_metrics", "/users/usageReport"


def today() -> str:
    return datetime.fromtimestamp(now_ms() / 1000, UTC).strftime("%Y-%m-%d")


@pytest.fixture
async def argo(argo: httpx.AsyncClient, node: Node) -> httpx.AsyncClient:
    """Project p published three messages today, q two; ann is p's admin, bob a consumer there."""
    await argo.post("/projects/q", json={})
    await argo.put("/projects/q/topics/t")
    await argo.put("/projects/p/subscriptions/s", json={"topic": "projects/p/topics/t"})
    await node.say("p/t", "a", "b", "c")
    await node.say("q/t", "d", "e")
    await node.accounts.create("ann", UserChange(projects=[("p", ["project_admin"])]))
    await node.accounts.create("bob", UserChange(projects=[("p", ["consumer"])]))
    return argo


async def as_user(node: Node, name: str) -> dict[str, str]:
    return {"x-api-key": node.accounts.token_of(await node.accounts.user(name))}


async def test_value_added_over_all_projects(argo: httpx.AsyncClient) -> None:
    report: dict[str, Any] = (await argo.get(VA, params={"start_date": today()})).json()
    assert report["projects_metrics"] == {
        "projects": [
            {
                "project": "p",
                "message_count": 3,
                "average_daily_messages": 3.0,
                "topics_count": 1,
                "subscriptions_count": 1,
                "users_count": 2,
            },
            {
                "project": "q",
                "message_count": 2,
                "average_daily_messages": 2.0,
                "topics_count": 1,
                "subscriptions_count": 0,
                "users_count": 0,
            },
        ],
        "total_message_count": 5,
        "average_daily_messages": 5.0,
    }
    assert (report["total_users_count"], report["total_topics_count"], report["total_subscriptions_count"]) == (2, 2, 1)


async def test_value_added_of_some_projects_and_days(argo: httpx.AsyncClient) -> None:
    chosen = (await argo.get(VA, params={"projects": "q"})).json()
    assert [each["project"] for each in chosen["projects_metrics"]["projects"]] == ["q"]
    assert chosen["total_users_count"] == 0
    past = (await argo.get(VA, params={"end_date": "2000-01-01"})).json()
    assert past["projects_metrics"] == {"projects": [], "total_message_count": 0, "average_daily_messages": 0.0}
    assert past["total_topics_count"] == 0


@pytest.mark.parametrize("path", [VA, USAGE])
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("start_date=x", "Start date is not in valid format"),
        ("end_date=2019-13-01", "End date is not in valid format"),
        ("start_date=2019-02-01&end_date=2019-01-01", "Start date cannot be after the end date"),
    ],
)
async def test_a_window_that_is_none(argo: httpx.AsyncClient, node: Node, path: str, query: str, message: str) -> None:
    headers = await as_user(node, "ann") if path == USAGE else {}
    answer = await argo.get(f"{path}?{query}", headers=headers)
    assert answer.json()["error"] == {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}


async def test_an_unknown_project_is_named(argo: httpx.AsyncClient) -> None:
    answer = await argo.get(VA, params={"projects": "p,absent"})
    assert answer.json()["error"] == {"code": 404, "message": "Project absent doesn't exist", "status": "NOT_FOUND"}


async def test_a_usage_report_is_of_the_callers_own_projects(argo: httpx.AsyncClient, node: Node) -> None:
    report = (await argo.get(USAGE, headers=await as_user(node, "ann"))).json()
    assert [each["project"] for each in report["va_metrics"]["projects_metrics"]["projects"]] == ["p"]
    assert report["va_metrics"]["total_users_count"] == 2
    assert len(report["operational_metrics"]["metrics"]) == 2


@pytest.mark.parametrize(("name", "query"), [("bob", ""), ("ann", "?projects=q"), ("ann", "?projects=absent")])
async def test_a_usage_report_of_nothing(argo: httpx.AsyncClient, node: Node, name: str, query: str) -> None:
    report = (await argo.get(USAGE + query, headers=await as_user(node, name))).json()
    assert report == {
        "va_metrics": {
            "projects_metrics": {"projects": [], "total_message_count": 0, "average_daily_messages": 0.0},
            "total_users_count": 0,
            "total_topics_count": 0,
            "total_subscriptions_count": 0,
        },
        "operational_metrics": {"metrics": []},
    }


async def test_who_may_ask(argo: httpx.AsyncClient, node: Node) -> None:
    assert (await argo.get(USAGE)).status_code == 401
    assert (await argo.get(USAGE, headers={"x-api-key": "nonsense"})).status_code == 401
    assert (await argo.get(VA, headers=await as_user(node, "ann"))).status_code == 401
    await node.accounts.create("viewer", UserChange(service_roles=["metrics_viewer"]))
    for path in (VA, "/metrics"):
        assert (await argo.get(path, headers=await as_user(node, "viewer"))).status_code == 200
