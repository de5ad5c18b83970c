"""Idempotency: what identifies a publish that is sent again. Pure.

The records themselves are the store's; see `docs/decisions/0004-idempotency-as-a-window.md`.
"""

from collections.abc import Sequence
from hashlib import blake2b

from broker.errors import InvalidRequest
from broker.positions import MAX_EPOCH
from broker.store.base import IdempotencyKey, PublisherSequence

MAX_KEY_BYTES = 255
"""Of an idempotency key or a publisher's name: bounds the records that a topic keeps of them."""

DIGEST_BYTES = 16


def digest_of(envelopes: Sequence[bytes]) -> bytes:
    """Return `DIGEST_BYTES` over the envelopes. Each is one msgpack value, so that joining them is unambiguous."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for envelope in envelopes:
        digest.update(envelope)
    return digest.digest()


def check_once(once: IdempotencyKey | PublisherSequence) -> None:
    """Raise `InvalidRequest` when a key, a publisher's name or a sequence number is out of bounds."""
    if isinstance(once, PublisherSequence):
        _check_key(once.publisher, what="publisher")
        if not 0 <= once.sequence <= MAX_EPOCH:
            raise InvalidRequest(f"A sequence number is 0 to {MAX_EPOCH}.")
    else:
        _check_key(once.key, what="key")


def _check_key(text: str, *, what: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"The {what} is not valid Unicode.") from None
    # NUL separates the parts of a record's name (DESIGN 5, `once`).
    if not 1 <= size <= MAX_KEY_BYTES or "\0" in text:
        raise InvalidRequest(f"The {what} must be 1 to {MAX_KEY_BYTES} bytes without NUL.")
