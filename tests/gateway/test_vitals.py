"""What a process takes of its machine."""

from pathlib import Path

import pytest

from gateway import vitals


def test_a_process_takes_something() -> None:
    seen = vitals.vitals()
    assert seen.cpu > 0
    assert 0 < seen.memory < 100


def test_without_proc_the_peak_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vitals, "STATM", tmp_path / "absent")
    assert 0 < vitals.vitals().memory < 100
