"""`headrace subscriptions consume`: print what a shared subscription delivers, and ack it once it is written."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.commands.following import json_line_of, line_of, to_output
from gateway.commands.target import Target
from gateway.commands.terminal import note
from headrace import Client, Consumer, Delivery, LeaseLost

MAX_BATCH = 512
"""Deliveries in one write."""


@dataclass(frozen=True, slots=True)
class Request:
    subscription: str
    window: int
    count: int | None = None
    """End after so many messages."""
    as_json: bool = False


async def consume(client: Client, request: Request, write: Callable[[bytes], None]) -> None:
    """Write and ack until the subscription ends, or `request.count` messages were written."""
    form, left = json_line_of if request.as_json else line_of, request.count
    async with client.consume(request.subscription, window=request.window) as consumer:
        while left != 0 and await consumer.wait():
            deliveries = _take(consumer, most=MAX_BATCH if left is None else min(left, MAX_BATCH))
            await asyncio.to_thread(write, b"".join(form(delivery.message) for delivery in deliveries))
            # Only now: what was not written must be delivered again.
            await _ack(deliveries)
            left = None if left is None else left - len(deliveries)


def _take(consumer: Consumer, *, most: int) -> list[Delivery]:
    return [consumer.take() for _ in range(min(consumer.queued, most))]


async def _ack(deliveries: Sequence[Delivery]) -> None:
    answers = await asyncio.gather(*(delivery.ack() for delivery in deliveries), return_exceptions=True)
    lost = sum(isinstance(answer, LeaseLost) for answer in answers)
    if lost:
        note(f"headrace: {lost} messages took too long to write and will be delivered again")
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, LeaseLost):
            raise answer


async def run(target: Target, request: Request) -> int:
    """Consume to standard output; returns the exit status."""
    return await to_output(
        target, f"consuming {request.subscription}", lambda client, write: consume(client, request, write)
    )
