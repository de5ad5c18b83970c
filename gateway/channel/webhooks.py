"""Presence, posted to the application (contracts/channel 7): `/_ah/channel/connected/` and `/disconnected/`.

The body is the original's form, `from=<client id>`, properly encoded. Each request is signed as Standard Webhooks has
it (standardwebhooks.com): `webhook-signature` is `v1,` and the base64 HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.
<body>`, one for each secret in force. The id begins with `connected_` or `disconnected_`, so that the path, which is
not signed, can be held against it.

By default an event is told at most once, as in the original: it waits in a bounded queue, unless a later one of its
client is told meanwhile, and its answer is ignored.
With retry, `notify` returns after the application's yes and raises otherwise, and the event has its number as `seq`.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode
from zlib import crc32

from broker.errors import HeadraceError, LimitExceeded
from gateway.channel.ports import Presence, Take, always
from gateway.options import Secret
from gateway.outgoing import Failed, Outgoing

log = logging.getLogger(__name__)

PATHS = "/_ah/channel/"

SEND_SECONDS = 10.0
"""One request, from the look-up of the name to the answer."""

MAX_ANSWER_BYTES = 4096
"""Of an answer, which nobody reads: enough to keep the connection."""

LANES = 16
"""Requests in flight at once without retry. A client id has one lane, so that its events keep their order."""

MAX_WAITING = 1000
"""Events that wait in one lane; one more is left to whoever finds it untold."""

MAX_IN_FLIGHT = 256
"""With retry: events that are being told at once; one more is refused, to be told later."""

SETTLE_SECONDS = 5.0
"""For what waits when the node ends; the rest is never told."""

_LABEL = b"headrace channel presence HMAC-SHA256 v1"


class Webhooks:
    """Implements `ports.Notifier`. Without a URL nobody is told. `run` has to run.

    `secrets` are what requests are signed with, more than one while a secret is changed. `now_ms` is the wall clock.
    """

    def __init__(
        self, outgoing: Outgoing, *, url: str, secrets: Sequence[bytes], retry: bool, now_ms: Callable[[], int]
    ) -> None:
        self._outgoing = outgoing
        self._url = url.rstrip("/")
        self._secrets = tuple(secrets)
        self._retry = retry
        self._now_ms = now_ms
        self._lanes = [asyncio.Queue[tuple[Presence, Take]](MAX_WAITING) for _ in range(LANES)]
        self._in_flight = 0
        self.dropped = 0
        """Events for which there was no room; they are found a minute later, if nothing has overtaken them."""

    async def notify(self, event: Presence, take: Take = always) -> None:
        """Raises `LimitExceeded`, `OutgoingError` with retry alone."""
        if not self._url:
            return
        if not self._retry:
            self._enqueue(event, take)
            return
        if self._in_flight >= MAX_IN_FLIGHT:
            raise LimitExceeded("Too many presence events are being told.")
        self._in_flight += 1
        try:
            await self._post(event)
        finally:
            self._in_flight -= 1

    @property
    def waiting(self) -> int:
        """Events that wait in the lanes, or are being told."""
        return sum(lane.qsize() for lane in self._lanes) + self._in_flight

    async def run(self) -> None:
        """Tell what waits, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(self._serve(lane))

    async def settle(self) -> None:
        """Return when nothing waits, or after `SETTLE_SECONDS`. For a node that ends; `run` has to run still."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.gather(*(lane.join() for lane in self._lanes))

    def _enqueue(self, event: Presence, take: Take) -> None:
        try:
            self._lanes[crc32(event.client_id) % LANES].put_nowait((event, take))
        except asyncio.QueueFull:
            self.dropped += 1
            log.warning("a presence event finds no room: too many wait", extra={"dropped": self.dropped})

    async def _serve(self, lane: "asyncio.Queue[tuple[Presence, Take]]") -> None:
        while True:
            event, take = await lane.get()
            try:
                if await take():
                    await self._post(event)
            except HeadraceError as error:
                log.info("the application was not told of presence", extra={"reason": error.reason})
            except Exception:
                log.exception("telling the application of presence failed")
            finally:
                lane.task_done()

    async def _post(self, event: Presence) -> None:
        body = body_of(event, numbered=self._retry)
        reply = await self._outgoing.send(
            "POST",
            f"{self._url}{PATHS}{event.kind}/",
            headers=headers_of(event, body, secrets=self._secrets, now_s=self._now_ms() // 1000),
            body=body,
            seconds=SEND_SECONDS,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if not 200 <= reply.status < 300:
            raise Failed(f"The application answered {reply.status}.")


def body_of(event: Presence, *, numbered: bool) -> bytes:
    """Return the form; `numbered` adds our own field."""
    fields: dict[str, bytes | int] = {"from": event.client_id}
    if numbered:
        fields["seq"] = event.sequence
    return urlencode(fields).encode()


def headers_of(event: Presence, body: bytes, *, secrets: Sequence[bytes], now_s: int) -> Mapping[str, str]:
    event_id, timestamp = f"{event.kind}_{event.event_id}", str(now_s)
    signed = b".".join((event_id.encode(), timestamp.encode(), body))
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def secrets_of(*, given: Secret | None, key: Secret, old: Secret | None) -> list[bytes]:
    """Return what requests are signed with: the given secret, else one derived from each secret key in force."""
    if given is not None:
        return [given.value.encode()]
    return [derived(secret).encode() for secret in (key, old) if secret is not None]


def derived(secret_key: Secret) -> str:
    """Return the secret of a node that was given none: hexadecimal digits, what an application verifies with."""
    return hmac.digest(secret_key.value.encode(), _LABEL, hashlib.sha256).hex()


def _signature(secret: bytes, signed: bytes) -> str:
    return f"v1,{b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()}"
