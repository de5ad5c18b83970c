"""Which push subscriptions this node delivers: one owner each in the cluster, by a duty (`cluster.duties`).

Every node has a task for each verified subscription, which waits for its duty; the node that gets it delivers. When
that node dies its lease runs out, and another goes on.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

from broker.errors import HeadraceError, UnknownProject, UnknownSubscription
from broker.names import SubscriptionName
from cluster.duties import Held
from gateway.push.worker import Services, Worker
from gateway.pushes import PushConfig

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""Between two looks at what there is to do when nothing was changed."""


class Duties(Protocol):
    """What is asked of `cluster.duties.Duties`."""

    async def run(self, name: str, work: Callable[[Held], Coroutine[object, object, object]]) -> None: ...


class Pusher:
    """The push deliveries of one node."""

    def __init__(self, services: Services, duties: Duties) -> None:
        self._services = services
        self._duties = duties
        self._tasks: dict[SubscriptionName, tuple[PushConfig, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Follow the configurations that this node knows, until cancelled."""
        pushes = self._services.pushes
        async with asyncio.TaskGroup() as group:
            while True:
                await self._follow(group, pushes.known)
                await pushes.changes(LOOK_SECONDS)

    async def _follow(self, group: asyncio.TaskGroup, known: Mapping[SubscriptionName, PushConfig]) -> None:
        """Stop the tasks whose configuration is gone or changed, start those that are missing."""
        stopped = [name for name, (config, _) in self._tasks.items() if known.get(name) != config]
        ended = [self._tasks.pop(name)[1] for name in stopped]
        for task in ended:
            task.cancel()
        if ended:
            # A node holds a duty once at a time.
            await asyncio.wait(ended)
        for name, config in known.items():
            if config.verified and name not in self._tasks:
                task = group.create_task(self._serve(name, config), name=f"push {name}")
                self._tasks[name] = (config, task)

    async def _serve(self, name: SubscriptionName, config: PushConfig) -> None:
        async def work(held: Held) -> None:
            try:
                await Worker(self._services, name, config, held).run()
            except (UnknownSubscription, UnknownProject):
                await self._forget(name, config)

        await self._duties.run(f"push/{name}", work)

    async def _forget(self, name: SubscriptionName, config: PushConfig) -> None:
        """Remove the configuration of a subscription that is gone, unless it is of a new one by now."""
        log.info("a push subscription is gone: its deliveries end", extra={"subscription": name})
        try:
            await self._services.pushes.delete(name, created_ms=config.created_ms)
        except HeadraceError as error:
            log.warning("a push configuration cannot be removed", extra={"subscription": name, "reason": str(error)})
