"""What is asked about the service itself."""

from datetime import date, datetime

import pytest
from argo_stub import Stub

from headrace.ams import ArgoMessagingService


def test_state_version_and_load(ams: ArgoMessagingService, stub: Stub) -> None:
    assert ams.status(params={"details": True}) == {"status": "ok"}
    assert stub.seen[-1].query == {"details": ["true"]}
    assert ams.version()["release"] == "1.0"
    assert ams.metrics()["metrics"]


@pytest.mark.parametrize("call", ["va_metrics", "usage_report"])
def test_a_report_is_of_projects_and_days(ams: ArgoMessagingService, stub: Stub, call: str) -> None:
    report = getattr(ams, call)
    report()
    assert stub.seen[-1].query == {}
    report(projects=["P", "Q"], start_date=datetime(2026, 1, 2, 3), end_date=date(2026, 2, 3))
    assert stub.seen[-1].query == {
        "projects": ["P,Q"],
        "start_date": ["2026-01-02"],
        "end_date": ["2026-02-03"],
    }
