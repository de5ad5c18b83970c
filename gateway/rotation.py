"""Changing the secret key: while `secret_key_old` is set, every node seals again what it finds under the old key.

Any number of nodes may do so at once: each text is replaced only as it was read. When the log says that nothing was
left, `secret_key_old` can go.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from broker.errors import HeadraceError

ROUND_SECONDS = 60.0
"""Between two looks: a node that has not the new key yet may seal under the old one meanwhile."""

log = logging.getLogger(__name__)

Reseal = Callable[[], Awaitable[int]]
"""Seals again what older keys sealed, and returns how many texts that were."""


async def seal_again(reseals: Sequence[Reseal], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Look for texts under the old key until cancelled."""
    while True:
        try:
            count = sum([await reseal() for reseal in reseals])
            log.info("secrets sealed under the new key", extra={"count": count})
        except HeadraceError as refusal:
            log.warning("secrets are sealed under the new key later", extra={"reason": str(refusal)})
        await sleep(ROUND_SECONDS)
