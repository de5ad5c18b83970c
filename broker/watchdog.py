"""The watchdog compares feeds with the ends of their logs: a lost last announcement shows no gap (DESIGN 7)."""

import asyncio
from collections.abc import Mapping

from broker.catchup import CatchUp, Following
from broker.errors import HeadraceError
from broker.names import TopicName
from broker.store.base import Store

WATCHED_TOPICS = 2000
"""Topics whose ends are asked for in one look; on a node with more of them each waits for its turn."""

GRACE_SECONDS = 0.1
"""How long an announcement may come after its entry was seen before the log is read instead."""


class Watchdog:
    """Looks at `topics` as they are at each `look`."""

    def __init__(
        self,
        store: Store,
        topics: Mapping[TopicName, Following],
        work: CatchUp,
        *,
        watched_topics: int = WATCHED_TOPICS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._store = store
        self._topics = topics
        self._work = work
        self._watched_topics = watched_topics
        self._grace_seconds = grace_seconds
        self._next = 0

    async def look(self) -> None:
        """Hold the ends of as many logs as one look may against their feeds, and have the late ones repaired."""
        asked = [(following, following.members.feed.place) for following in self._turn()]
        try:
            ends = await self._store.ends([following.topic for following, _ in asked]) if asked else []
        except HeadraceError:
            return  # There is a next look.
        for (following, at), end in zip(asked, ends, strict=True):
            if not following.over:
                self._work.perform(following, following.members.watch(at, end))
        await asyncio.sleep(self._grace_seconds)
        for following, _ in asked:
            if not following.over:
                self._work.perform(following, following.members.confirm())

    def _turn(self) -> list[Following]:
        """Return those where somebody is parked, and of the others those whose turn it is."""
        everyone = list(self._topics.values())
        count = min(len(everyone), self._watched_topics)
        start = self._next % len(everyone) if everyone else 0
        self._next = start + count
        urgent = [following for following in everyone if following.members.waiting]
        turn = (everyone + everyone)[start : start + count]
        return list(dict.fromkeys([*urgent[: count // 2 + 1], *turn]))[:count]
