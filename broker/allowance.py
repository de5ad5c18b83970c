"""Allowances: how many messages a project may publish on one node, and whether it may at all. Pure.

A token bucket that holds one second's worth. Whoever finds something in it may take more than there is, and the others
wait until that is paid back: a batch larger than the bucket passes, and the rate holds all the same.
"""

from broker.store.base import ProjectLimits

RETRY_FULL_MS = 5000
"""When to come back to a project that keeps too much: retention looks about as often."""


def effective_limits(project: ProjectLimits, node: ProjectLimits) -> ProjectLimits:
    """Return the limits that apply: each is the project's own, or the node's."""
    return ProjectLimits(
        project.topics if project.topics is not None else node.topics,
        project.subscriptions if project.subscriptions is not None else node.subscriptions,
        project.publish_per_second if project.publish_per_second is not None else node.publish_per_second,
        project.retained_bytes if project.retained_bytes is not None else node.retained_bytes,
        project.no_subscriber if project.no_subscriber is not None else node.no_subscriber,
    )


class Allowance:
    """One project's. `now` is monotonic seconds."""

    __slots__ = ("_at", "_tokens", "is_full", "rate")

    def __init__(self, rate: float | None, now: float) -> None:
        self.rate = rate
        self.is_full = False
        """The project keeps more than it may."""
        self._tokens = self._most
        self._at = now

    @property
    def _most(self) -> float:
        return max(self.rate or 0, 1)

    def take(self, messages: int, now: float) -> int:
        """Take so many, and return 0; or none, and return in how many ms there is something again."""
        if self.is_full:
            return RETRY_FULL_MS
        if self.rate is None:
            return 0
        self._tokens = min(self._tokens + max(0, now - self._at) * self.rate, self._most)
        self._at = now
        if self._tokens <= 0:
            return int(-self._tokens / self.rate * 1000) + 1
        self._tokens -= messages
        return 0
