"""Posts that were written are known for a while, and no longer than memory allows."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.apigateway.cluster import invocations
from gateway.apigateway.cluster.invocations import KEPT_SECONDS, Invocations


def test_a_written_post_is_known_for_its_connection_alone() -> None:
    known = Invocations(0.0)
    assert ("c", "i") not in known
    known.note("c", "i", 0.0)
    assert ("c", "i") in known
    assert ("c", "j") not in known
    assert ("d", "i") not in known
    assert ("ci", "") not in known


@given(st.lists(st.floats(0, 2 * KEPT_SECONDS), max_size=20))
def test_nothing_is_forgotten_before_its_time(waits: list[float]) -> None:
    known, now = Invocations(0.0), 0.0
    noted: list[tuple[str, float]] = []
    for number, wait in enumerate(waits):
        now += wait
        known.note("c", str(number), now)
        noted.append((str(number), now))
        assert all(("c", name) in known for name, at in noted if now - at < KEPT_SECONDS)


def test_what_is_old_goes() -> None:
    known = Invocations(0.0)
    known.note("c", "i", 1.0)
    known.note("c", "j", KEPT_SECONDS)
    assert ("c", "i") in known
    known.note("c", "k", 2 * KEPT_SECONDS)
    assert ("c", "i") not in known
    assert ("c", "j") in known


def test_many_posts_push_out_the_oldest() -> None:
    known = Invocations(0.0)
    for number in range(2 * invocations.MAX_KEPT + 1):
        known.note("c", str(number), 0.0)
    assert ("c", "0") not in known
    assert ("c", str(2 * invocations.MAX_KEPT)) in known
    assert ("c", str(invocations.MAX_KEPT)) in known
