"""The union of events is complete: a shell that matches on it forgets none."""

from typing import get_args

from headrace import events


def test_every_event_is_part_of_the_union() -> None:
    defined = {kind for kind in vars(events).values() if isinstance(kind, type) and hasattr(kind, "_fields")}
    named = {getattr(part, "__origin__", part) for part in get_args(events.Event)}
    assert {kind for kind in defined if kind.__module__ == events.__name__} <= named
