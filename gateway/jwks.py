"""A JWK set behind a URL, fetched when it is needed and at a bounded price.

Keys that were fetched go on to serve while their source is away. A token with an unknown `kid` makes one fetch at most
each `MIN_REFRESH_SECONDS`, however many come; all who wait share it. No redirect is followed, no proxy is taken from
the environment, and neither size nor time is the other side's choice.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable

import httpx
import orjson

from broker.errors import Unavailable
from gateway.keys import VerificationKey, read_jwk_set

log = logging.getLogger(__name__)

FRESH_SECONDS = 600.0
"""How long a set is believed without asking again: how late a withdrawn key is noticed."""

MAX_STALE_SECONDS = 24 * 3600.0
"""How long a set serves while its source cannot be asked."""

MIN_REFRESH_SECONDS = 30.0
"""Between two fetches, successful or not."""

FETCH_TIMEOUT_SECONDS = 5.0
MAX_SET_BYTES = 256 * 1024
RETRY_MS = int(MIN_REFRESH_SECONDS * 1000)


class KeySet:
    """The keys of one JWK set by `kid`."""

    def __init__(self, url: str, *, monotonic: Callable[[], float]) -> None:
        self._url = url
        self._monotonic = monotonic
        self._tls = ssl.create_default_context()
        self._keys: dict[str, VerificationKey] = {}
        self._fetched: float | None = None
        self._attempted: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    def known(self, kid: str) -> VerificationKey | None:
        """Return a key that may be used without asking anybody, None where `find` must be awaited."""
        return self._keys.get(kid) if self._age() < FRESH_SECONDS else None

    async def find(self, kid: str) -> VerificationKey | None:
        """Return the key, None when the set does not have it. Raises `Unavailable` when there is no set to ask."""
        key = self.known(kid)
        if key is not None:
            return key
        if self._fetching is not None or self._may_fetch():
            await self._fetch_once()
        if self._age() >= MAX_STALE_SECONDS:
            self._keys = {}
            raise Unavailable("The keys that tokens are verified with cannot be fetched.", retry_ms=RETRY_MS)
        return self._keys.get(kid)

    def _age(self) -> float:
        return float("inf") if self._fetched is None else self._monotonic() - self._fetched

    def _may_fetch(self) -> bool:
        return self._attempted is None or self._monotonic() - self._attempted >= MIN_REFRESH_SECONDS

    async def _fetch_once(self) -> None:
        if self._fetching is None:
            self._attempted = self._monotonic()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        # Shielded: the one who asked first may leave, and the others still wait.
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                self._keys = read_jwk_set(orjson.loads(await self._download()))
            self._fetched = self._monotonic()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError, OSError) as error:
            log.warning("the JWK set could not be fetched", extra={"reason": str(error) or type(error).__name__})
        finally:
            self._fetching = None

    async def _download(self) -> bytes:
        client = httpx.AsyncClient(
            verify=self._tls, timeout=FETCH_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
        )
        # Uncompressed, so that what is counted is what is kept.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        async with client, client.stream("GET", self._url, headers=headers) as response:
            if response.status_code != 200:
                raise ValueError(f"the answer has status {response.status_code}")
            data = bytearray()
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > MAX_SET_BYTES:
                    raise ValueError(f"the answer is longer than {MAX_SET_BYTES} bytes")
            return bytes(data)
