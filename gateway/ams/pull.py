"""Pulling and acknowledging in ARGO's form (contract ams.md 4.8 and 6).

A pull that finds nothing and may wait does so for `limits.pull_wait_seconds` and returns with the first message.
Acks: what is committed already is fine (200), what the last pull did not return is not (400), and what comes after the
deadline is 408, upon which ARGO's client pulls again. Of a shared subscription each id is acked by itself; where a
lease is over the answer is that 408 too, and names the ids, while the others are acked.
"""

import orjson

from broker.errors import InvalidRequest, UnknownTopic
from broker.names import local_of
from broker.store.subscriptions import CursorAck, Settled
from gateway.ams import errors, receiving
from gateway.ams.pushconfig import require_pull
from gateway.ams.receiving import PullOptions
from gateway.ams.requests import Request
from gateway.ams.table import Row


async def pull(request: Request) -> bytes:
    require_pull(request)
    options = await _options(request)
    wait = request.context.config.limits.pull_wait_seconds if options.waits else 0
    try:
        pulled = await request.context.subscriptions.pull(
            request.subscription, max_messages=options.max_messages, wait_seconds=wait
        )
    except UnknownTopic:
        raise errors.conflict("Subscription's topic doesn't exist") from None
    request.rates.note(request.subscription, len(pulled.deliveries), now_ms=request.context.now_ms())
    prefix = receiving.ack_prefix(request.project, local_of(request.subscription))
    return receiving.received((prefix + delivery.ack, delivery.entry) for delivery in pulled.deliveries)


async def _options(request: Request) -> PullOptions:
    """Read the body; where it cannot be read, that the subscription or its topic is gone comes first."""
    try:
        return receiving.read_pull(request.body)
    except InvalidRequest:
        info = await request.context.subscriptions.get(request.subscription)
        if info.log is None:
            raise errors.conflict("Subscription's topic doesn't exist") from None
        raise errors.invalid_arguments("Pull Parameters") from None


async def acknowledge(request: Request) -> bytes:
    try:
        ack_ids = receiving.read_ack_ids(request.body)
    except InvalidRequest:
        raise errors.invalid("Invalid ack parameter") from None
    try:
        acks = receiving.acks_of(ack_ids or [], request.project, local_of(request.subscription))
        outcome = await request.context.subscriptions.acknowledge(request.subscription, acks)
    except InvalidRequest:
        await request.context.subscriptions.get(request.subscription)
        raise errors.invalid("Invalid ack id") from None
    except UnknownTopic:
        raise errors.conflict("Subscription's topic doesn't exist") from None
    if isinstance(outcome, CursorAck):
        return _committed(outcome)
    if Settled.STALE in outcome:
        raise errors.leases_over(ack_ids or [], outcome)
    return orjson.dumps({})


def _committed(outcome: CursorAck) -> bytes:
    match outcome:
        case CursorAck.COMMITTED | CursorAck.ALREADY:
            return orjson.dumps({})
        case CursorAck.TIMEOUT:
            raise errors.ack_timeout()
        case CursorAck.OUTSIDE:
            raise errors.invalid("wrong ack")
        case CursorAck.NOTHING_PENDING:
            raise errors.invalid("no ack pending")


_ONE = "/projects/{project}/subscriptions/{subscription}"

ROUTES = (
    Row("POST", f"{_ONE}:pull", "subscriptions:pull", pull, asks_project=False),
    Row("POST", f"{_ONE}:acknowledge", "subscriptions:acknowledge", acknowledge, asks_project=False),
)
