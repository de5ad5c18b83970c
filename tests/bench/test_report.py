import json

import pytest

from bench.report import Report, Target, publish


@pytest.mark.parametrize(
    ("value", "bound", "at_least", "reached"),
    [(1.0, 1.25, False, True), (1.3, 1.25, False, False), (5.0, 5.0, True, True), (4.9, 5.0, True, False)],
)
def test_a_target_knows_its_direction(value: float, bound: float, at_least: bool, reached: bool) -> None:
    target = Target("ratio", value, bound, at_least=at_least)
    assert target.reached is reached
    assert ("MISSED" in str(target)) is not reached


def test_a_report_is_a_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("demo", {"n": 1}, ("what", "rate"), [("raw", 1234567), ("node", 12.5)], [Target("r", 1, 2)])
    assert publish(report, json_only=False) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["targets"][0]["reached"] is True
    assert "1,234,567" in printed.err and "12.50" in printed.err


def test_a_fault_fails_the_bench(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("demo", {}, ("what",), faults=["2 lost"])
    assert publish(report, json_only=True) == 1
    assert not capsys.readouterr().err
