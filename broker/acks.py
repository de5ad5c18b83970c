"""Ack ids: what a consumer hands back to settle a delivery. Pure.

For a cursor it is the offset in decimal. For a shared subscription it is `<offset>.<attempt>-<token>`, where the token
is the store's and names one attempt alone; the attempt is only there for the retry policy. To everyone else the text
is opaque.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.errors import InvalidRequest
from broker.names import shown
from broker.positions import MAX_EPOCH
from broker.store.subscriptions import Lease, SubscriptionKind

MAX_ACK_BYTES = 255
"""Of one ack id, without what a face puts before it."""

MAX_ACKS = 10_000
"""Ack ids of one call."""

MAX_ATTEMPT = 2**31


@dataclass(frozen=True, slots=True)
class AckId:
    """An ack id as it was read. `token` is empty for a cursor's."""

    offset: int
    token: str = ""
    attempt: int = 1


def ack_of(lease: Lease) -> str:
    return f"{lease.entry.position.offset}.{lease.attempt}-{lease.token}"


def parse_ack(text: str) -> AckId:
    """Read what `ack_of` wrote, or a cursor's plain offset. Raises `InvalidRequest`."""
    offset, dot, rest = text.partition(".")
    attempt, dash, token = rest.partition("-")
    if len(text) > MAX_ACK_BYTES or not _is_number(offset) or int(offset) > MAX_EPOCH:
        raise _invalid(text)
    if not dot:
        return AckId(int(offset))
    if not dash or not token.isascii() or not token or not _is_number(attempt) or int(attempt) > MAX_ATTEMPT:
        raise _invalid(text)
    return AckId(int(offset), token, int(attempt))


def parse_acks(texts: Sequence[str]) -> list[AckId]:
    """Read the ack ids of one call. Raises `InvalidRequest` when one of them is none, or they are none or too many."""
    if not 1 <= len(texts) <= MAX_ACKS:
        raise InvalidRequest(f"A call settles 1 to {MAX_ACKS} messages, not {len(texts)}.")
    return [parse_ack(text) for text in texts]


def check_kind(acks: Sequence[AckId], kind: SubscriptionKind) -> None:
    """Raise `InvalidRequest` when one of `acks` belongs to another kind of subscription."""
    if any(bool(ack.token) != (kind is SubscriptionKind.SHARED) for ack in acks):
        raise InvalidRequest(f"This is no ack id of a {kind.value} subscription.")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 16


def _invalid(text: str) -> InvalidRequest:
    return InvalidRequest(f"{shown(text)} is not an ack id.")
