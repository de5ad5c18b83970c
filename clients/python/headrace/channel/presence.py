"""Presence requests, as the application gets them: who has come or gone, and whether a Headrace node has said so. Pure.

A node posts `/_ah/channel/connected/` and `/_ah/channel/disconnected/`, signed as Standard Webhooks has it: the header
`webhook-signature` holds `v1,` and the base64 HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>`. The id begins
with `connected_` or `disconnected_`, so that a signed request cannot be turned into the other by its path.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

TOLERANCE_S = 300
"""How far apart the clocks of node and application may be, transport included."""

MAX_BODY_BYTES = 16_384

MAX_SIGNATURES = 8


class InvalidPresence(ValueError):
    """The request was not signed by a node with this secret, or not now, or says nothing. Answer 403."""


@dataclass(frozen=True, slots=True)
class Presence:
    """`client_id` has connected, or disconnected.

    The same event may come twice where nodes repeat failed requests: it has the same `event_id` then. `sequence` rises
    with each event of a client id, so that an older one that comes late can be told; None where nodes do not repeat.
    """

    client_id: str
    connected: bool
    event_id: str
    sequence: int | None


def verify_presence(
    path: str, headers: Mapping[str, str], body: bytes, *, secret: str, now: float, tolerance_s: float = TOLERANCE_S
) -> Presence:
    """Return what a request says, or raise `InvalidPresence`.

    `secret` is the nodes' `channel.presence_secret`, `now` the time in Unix seconds. Header names may have any case.
    """
    given = {name.lower(): value for name, value in headers.items()}
    event_id, timestamp = given.get(ID_HEADER, ""), given.get(TIMESTAMP_HEADER, "")
    if len(body) > MAX_BODY_BYTES or not _is_signed(given.get(SIGNATURE_HEADER, ""), event_id, timestamp, body, secret):
        raise InvalidPresence("The signature is not valid.")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(int(timestamp) - now) > tolerance_s:
        raise InvalidPresence("The request is too old, or the clocks differ.")
    kind = path.rstrip("/").rpartition("/")[2]
    if kind not in ("connected", "disconnected") or not event_id.startswith(f"{kind}_"):
        raise InvalidPresence("The request was signed for another path.")
    return _read(body, event_id, connected=kind == "connected")


def signature(secret: str, event_id: str, timestamp: str, body: bytes) -> str:
    """Return one signature, as the header has it."""
    signed = b".".join((event_id.encode(), timestamp.encode(), body))
    return f"v1,{b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()}"


def _is_signed(signatures: str, event_id: str, timestamp: str, body: bytes, secret: str) -> bool:
    expected = signature(secret, event_id, timestamp, body).encode()
    # While a secret is changed there is one signature under each.
    return any(hmac.compare_digest(one.encode(), expected) for one in signatures.split(" ")[:MAX_SIGNATURES])


def _read(body: bytes, event_id: str, *, connected: bool) -> Presence:
    fields = parse_qs(body.decode("ascii", errors="replace"), keep_blank_values=True, errors="surrogateescape")
    sequence = fields.get("seq", [""])[0]
    if "from" not in fields:
        raise InvalidPresence("The request names no client.")
    return Presence(fields["from"][0], connected, event_id, int(sequence) if sequence.isdigit() else None)
