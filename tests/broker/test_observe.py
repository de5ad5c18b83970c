"""The observer that counts nothing takes every report that there is."""

import inspect
from typing import get_type_hints

import pytest

from broker.observe import Observer, Silent

REPORTS = [name for name, _ in inspect.getmembers(Observer, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("name", REPORTS)
def test_silent_takes_what_an_observer_takes(name: str) -> None:
    report, wanted = getattr(Silent, name), getattr(Observer, name)
    assert inspect.signature(report) == inspect.signature(wanted)
    hints = {key: kind for key, kind in get_type_hints(wanted).items() if key != "return"}
    assert getattr(Silent(), name)(**{key: kind() for key, kind in hints.items()}) is None


def test_there_are_reports() -> None:
    assert {"published", "appended", "delivered", "trimmed"} <= set(REPORTS)
