"""Which limits apply: a topic's own over its project's over the node's."""

import pytest

from broker.retention import DAY_MS, NODE_RETENTION, effective
from broker.store.base import Retention

NONE = Retention()


def test_the_defaults() -> None:
    assert effective(NONE, NONE) == Retention(1_000_000, 1024 * 1024 * 1024, 7 * DAY_MS)
    assert DAY_MS == 86_400_000


@pytest.mark.parametrize("field", ["max_messages", "max_bytes", "max_age_ms"])
def test_the_nearest_level_that_says_something_wins(field: str) -> None:
    topic, project, node = (Retention(**{field: number}) for number in (1, 2, 3))
    others = {name for name in ("max_messages", "max_bytes", "max_age_ms") if name != field}
    for levels, expected in [
        ((topic, project, node), 1),
        ((NONE, project, node), 2),
        ((NONE, NONE, node), 3),
        ((topic, NONE, node), 1),
        ((topic, NONE, NONE), 1),
        ((NONE, NONE, NONE), getattr(NODE_RETENTION, field)),
    ]:
        found = effective(*levels)
        assert getattr(found, field) == expected
        assert all(getattr(found, other) == getattr(NODE_RETENTION, other) for other in others)


def test_nothing_at_all_may_be_kept() -> None:
    assert effective(Retention(0, 0, 0), Retention(1, 1, 1)) == Retention(0, 0, 0)
