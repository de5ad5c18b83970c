"""Retention: which limits apply to a topic. Its own go over its project's, those over the node's."""

from broker.store.base import Retention

DAY_MS = 24 * 60 * 60 * 1000

NODE_RETENTION = Retention(max_messages=1_000_000, max_bytes=2**30, max_age_ms=7 * DAY_MS)
"""What a topic keeps when neither it nor its project says otherwise (DESIGN 2)."""


def effective(topic: Retention, project: Retention, node: Retention = NODE_RETENTION) -> Retention:
    """Return the retention that applies, all fields set: each is the first that is not None of topic, project, node.

    What `node` leaves open is filled from `NODE_RETENTION`: no log grows for ever.
    """
    levels = (topic, project, node, NODE_RETENTION)
    return Retention(
        max_messages=_first(*(level.max_messages for level in levels)),
        max_bytes=_first(*(level.max_bytes for level in levels)),
        max_age_ms=_first(*(level.max_age_ms for level in levels)),
    )


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
