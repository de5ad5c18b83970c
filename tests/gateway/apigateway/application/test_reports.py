"""Failures are reported at our pace, and none is forgotten."""

from gateway.apigateway.application.reports import REPORT_SECONDS, Reports


def test_the_first_is_told_and_the_next_wait() -> None:
    reports = Reports()
    assert reports.due("a", 0.0) == 1
    assert [reports.due("a", at) for at in (0.0, 1.0, REPORT_SECONDS - 0.01)] == [0, 0, 0]
    assert reports.due("a", REPORT_SECONDS) == 4
    assert reports.due("a", REPORT_SECONDS + 1) == 0
    assert reports.due("a", 100.0) == 2
    assert reports.due("a", 200.0) == 1


def test_each_has_its_own_pace() -> None:
    reports = Reports()
    assert [reports.due(what, 0.0) for what in ("a", "b", "a")] == [1, 1, 0]
