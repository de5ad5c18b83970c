"""Back ends behind HTTP: one request each, signed where there is a secret.

Their URLs are the operator's choice, so plain http and private addresses are allowed, unlike where a tenant names a URL
(`gateway.outgoing`). A request is sent once: whether a back end that did not answer has done its work is not known.

A signature is that of Standard Webhooks (standardwebhooks.com): `webhook-id`, `webhook-timestamp`, and in
`webhook-signature` `v1,` with the base64 HMAC-SHA256 of `<id>.<timestamp>.<body>`. The id is the event's requestId.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from ipaddress import ip_network

from gateway import outgoing
from gateway.apigateway.application.outcomes import Broken, Slots, TimedOut, Unreached
from gateway.apigateway.configuration.definitions import MAX_CALLS
from gateway.options import Secret
from gateway.outgoing import Outgoing, OutgoingRules, Reply

RULES = OutgoingRules(plain_http=True, networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
"""Any address over any scheme."""

SECRET_PREFIX = "whsec_"
"""Begins a secret that is base64 of the key, as the libraries of Standard Webhooks want theirs."""

Pairs = Sequence[tuple[str, str]]


class Callbacks:
    """Sends requests to back ends. One a node. `now_ms` is the wall clock."""

    def __init__(self, sender: Outgoing, *, now_ms: Callable[[], int]) -> None:
        self._sender = sender
        self._now_ms = now_ms
        self._slots = Slots(MAX_CALLS)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Pairs,
        body: bytes,
        secret: Secret | None,
        event_id: str,
        seconds: float,
        max_bytes: int,
    ) -> Reply:
        """Return the whole answer, whatever its status. Raises `TimedOut`, `Throttled`, `Unreached`, `Broken`."""
        own = [("webhook-id", event_id)]
        if secret is not None:
            own = signature(secret, event_id, body, now_s=self._now_ms() // 1000)
        try:
            with self._slots:
                return await self._sender.send(
                    method, url, headers=[*headers, *own], body=body, seconds=seconds, max_bytes=max_bytes, whole=True
                )
        except outgoing.TimedOut:
            raise TimedOut from None
        except outgoing.NotAllowed as error:
            raise Broken(error.reason) from None
        except outgoing.Failed as error:
            raise Unreached(error.reason) from None

    async def close(self) -> None:
        await self._sender.close()


def callbacks(*, now_ms: Callable[[], int]) -> Callbacks:
    """Return what sends under our own rules."""
    return Callbacks(Outgoing(RULES), now_ms=now_ms)


def signature(secret: Secret, event_id: str, body: bytes, *, now_s: int) -> list[tuple[str, str]]:
    """Return the headers that sign a request."""
    signed = f"{event_id}.{now_s}.".encode() + body
    digest = b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()
    return [("webhook-id", event_id), ("webhook-timestamp", str(now_s)), ("webhook-signature", f"v1,{digest}")]


def _key(secret: Secret) -> bytes:
    if secret.value.startswith(SECRET_PREFIX):
        try:
            return b64decode(secret.value.removeprefix(SECRET_PREFIX), validate=True)
        except ValueError:
            pass
    return secret.value.encode()
