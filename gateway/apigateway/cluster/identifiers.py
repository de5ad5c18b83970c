"""Connection ids: shaped as AWS's, and leading any node to the owner without asking anybody. Pure.

An id is 11 bytes in URL-safe base64: 16 characters, the last of them `=` (contracts/apigateway 7). The first bytes are
a digest of the owning node's id, the tag; the rest is a serial. Every life of a node has another id, and none gives out
a serial twice, so an id never comes back; and a tag that no member has belongs to a node that is gone.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

from gateway.apigateway.errors import Malformed

ID_BYTES = 11

TAG_BYTES = 5
"""Among 1,000 nodes two have the same tag once in two million clusters."""

SERIAL_BYTES = ID_BYTES - TAG_BYTES
"""Of the part that says which of a node's connections it is."""

_HALF_BYTES = SERIAL_BYTES // 2
_ROUNDS = 4
"""As many as a permutation of blocks needs to look like chance to whoever has not the key (Luby and Rackoff)."""

_SHAPE = re.compile(r"[A-Za-z0-9_-]{15}=")


def tag_of(node: str) -> bytes:
    """Return what the ids of a node's connections begin with."""
    return blake2b(node.encode(), digest_size=TAG_BYTES).digest()


def serial_of(number: int, key: bytes) -> bytes:
    """Return the serial of a node's connection number `number`: another for each below 2^48, in no order that shows."""
    block = number.to_bytes(SERIAL_BYTES)
    left, right = block[:_HALF_BYTES], block[_HALF_BYTES:]
    for turn in range(_ROUNDS):
        mask = blake2b(right, digest_size=_HALF_BYTES, key=key, salt=bytes((turn,))).digest()
        left, right = right, bytes(a ^ b for a, b in zip(left, mask, strict=True))
    return left + right


def connection_id(tag: bytes, serial: bytes) -> str:
    """Return the id of the connection `serial` (`SERIAL_BYTES`) of the node with this tag."""
    return urlsafe_b64encode(tag + serial).decode()


def owner_tag(connection: str) -> bytes:
    """Return the tag of the node that owns a connection. Raises `Malformed` for what has not the shape of an id."""
    return place_of(connection)[:TAG_BYTES]


def place_of(connection: str) -> bytes:
    """Return the bytes that connections are listed by: those of one node stand together. Raises `Malformed`."""
    if _SHAPE.fullmatch(connection) is None:
        raise Malformed
    return urlsafe_b64decode(connection)
