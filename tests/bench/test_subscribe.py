import pytest

from bench import subscribe as bench


async def test_everything_that_was_published_is_pulled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SEVERAL", 3)
    monkeypatch.setattr(bench, "COMPARED_PULLS", 3)
    report = await bench.subscribe(size=64, seconds=0.3, backlog=2000, pending=2000)
    assert not report.faults
    assert all(row[1] > 0 for row in report.rows)
    assert len(report.targets) == 6
