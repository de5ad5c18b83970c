"""Push configurations of subscriptions: what they say, where they are kept, and how every node comes to know them.

A configuration is one record, sealed as a whole under `HEADRACE_SECRET_KEY`: the authorization value, a webhook's URL
and what an endpoint's query holds are secrets. All of them lie in one space beside a version, so that a node that asks
once in `POLL_SECONDS` whether anything changed reads them all only then. `known` is what it knows; asking it costs
nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import orjson

from broker.accounts import Vault
from broker.errors import HeadraceError, Unavailable
from broker.names import SubscriptionName
from broker.store.records import EVERYWHERE, Change, Records

log = logging.getLogger(__name__)

CONFIGS = "pushes"
STATUSES = "push_statuses"
VERSION = "push_version"
VERSION_ID = "version"

POLL_SECONDS = 1.0
"""How late a node knows what was changed on another."""

ATTEMPTS = 8
RETRY_MS = 100


class PushType(StrEnum):
    HTTP_ENDPOINT = "http_endpoint"
    MATTERMOST = "mattermost"


class RetryPolicy(StrEnum):
    LINEAR = "linear"
    SLOWSTART = "slowstart"


class Authorization(StrEnum):
    AUTOGEN = "autogen"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushConfig:
    """What ARGO calls `pushConfig` (contract ams.md 4.11)."""

    type: PushType
    endpoint: str = field(default="", repr=False)
    max_messages: int = 1
    authorization: Authorization = Authorization.DISABLED
    authorization_value: str = field(default="", repr=False)
    """Sent verbatim as the header `Authorization`; empty when disabled."""
    retry: RetryPolicy = RetryPolicy.LINEAR
    period_ms: int = 0
    """Between two deliveries; 0 with slowstart, which finds its own pace."""
    verification_hash: str = ""
    verified: bool = False
    mattermost_url: str = field(default="", repr=False)
    mattermost_username: str = ""
    mattermost_channel: str = ""
    base64_decode: bool = False
    shared: bool = False
    """Of its subscription: a shared one may be pulled from beside."""
    created_ms: int = 0
    """When its subscription was created: one that was made again under the same name is another."""


Revision = Callable[[PushConfig | None], PushConfig | None]
"""Makes the configuration anew from the one there is; None is none. May raise."""


class Pushes:
    """The configurations. Verbs raise `Unavailable` where the records cannot be asked."""

    def __init__(self, records: Records, vault: Vault, *, new_id: Callable[[], str]) -> None:
        self._records = records
        self._vault = vault
        self._new_id = new_id
        self._known: dict[SubscriptionName, PushConfig] = {}
        self._version: bytes | None = None
        self._changed = asyncio.Event()

    @property
    def known(self) -> Mapping[SubscriptionName, PushConfig]:
        """What this node knows without asking."""
        return self._known

    async def get(self, name: SubscriptionName, *, created_ms: int) -> PushConfig | None:
        """Return the configuration of the subscription that was created then."""
        record = await self._records.get(EVERYWHERE, CONFIGS, name)
        found = self._open(name, record) if record is not None else None
        return found if found is not None and found.created_ms == created_ms else None

    async def several(self, subscriptions: Sequence[tuple[SubscriptionName, int]]) -> list[PushConfig | None]:
        """Return the configurations of subscriptions, given with the time when each was created."""
        records = await self._records.several(EVERYWHERE, CONFIGS, [name for name, _ in subscriptions])
        opened = [
            self._open(name, record) if record is not None else None
            for (name, _), record in zip(subscriptions, records, strict=True)
        ]
        return [
            config if config is not None and config.created_ms == created else None
            for (_, created), config in zip(subscriptions, opened, strict=True)
        ]

    async def change(self, name: SubscriptionName, how: Revision, *, created_ms: int) -> PushConfig | None:
        """Replace the configuration by what `how` makes of it, anew where another got in the way.

        One of another subscription that had this name counts as none, and is replaced.
        """
        for _ in range(ATTEMPTS):
            record = await self._records.get(EVERYWHERE, CONFIGS, name)
            before = self._open(name, record) if record is not None else None
            made = how(before if before is not None and before.created_ms == created_ms else None)
            sealed = self._seal(name, made) if made is not None else None
            if (record is None and sealed is None) or await self._commit(name, record, sealed):
                await self.refresh()
                return made
        raise Unavailable("Others change the same configuration at the same time.", retry_ms=RETRY_MS)

    async def delete(self, name: SubscriptionName, *, created_ms: int) -> None:
        """Remove the configuration of the subscription that was created then; a later one's stays."""
        for _ in range(ATTEMPTS):
            record = await self._records.get(EVERYWHERE, CONFIGS, name)
            found = self._open(name, record) if record is not None else None
            if record is None or (found is not None and found.created_ms > created_ms):
                return
            if await self._commit(name, record, None):
                await self.refresh()
                return
        raise Unavailable("Others change the same configuration at the same time.", retry_ms=RETRY_MS)

    async def reseal(self) -> int:
        """Seal again what an older key sealed, and return how many configurations that were."""
        count = 0
        for id, record in (await self._records.all(EVERYWHERE, CONFIGS)).items():
            name = SubscriptionName(id)
            config = self._open(name, record) if self._vault.is_stale(record.decode()) else None
            if config is not None:
                # Says what it said: no node needs to hear of it.
                change = Change(CONFIGS, id, record, self._seal(name, config))
                count += await self._records.commit(EVERYWHERE, [change])
        return count

    async def _commit(self, name: SubscriptionName, before: bytes | None, after: bytes | None) -> bool:
        version = await self._records.get(EVERYWHERE, VERSION, VERSION_ID)
        status = await self._records.get(EVERYWHERE, STATUSES, name)
        changes = [
            Change(CONFIGS, name, before, after),
            Change(VERSION, VERSION_ID, version, self._new_id().encode()),
            Change(STATUSES, name, status, None),
        ]
        return await self._records.commit(EVERYWHERE, changes)

    # How it goes.

    async def status(self, name: SubscriptionName) -> str:
        """Return what the owner of the deliveries last said, empty where it said nothing yet."""
        found = await self._records.get(EVERYWHERE, STATUSES, name)
        return found.decode() if found is not None else ""

    async def report(self, name: SubscriptionName, status: str) -> None:
        """Keep the status, unless the configuration is gone; another's at the same time may win."""
        before = await self._records.get(EVERYWHERE, STATUSES, name)
        config = await self._records.get(EVERYWHERE, CONFIGS, name)
        if config is not None:
            held = Change(CONFIGS, name, config, config)
            await self._records.commit(EVERYWHERE, [held, Change(STATUSES, name, before, status.encode())])

    # What this node knows.

    async def run(self) -> None:
        """Keep `known` up to date, until cancelled."""
        while True:
            try:
                await self.refresh()
            except HeadraceError as error:
                log.debug("push configurations cannot be read: %s", error)
            await asyncio.sleep(POLL_SECONDS)

    async def refresh(self) -> None:
        """Read all configurations where anything has changed."""
        version = await self._records.get(EVERYWHERE, VERSION, VERSION_ID)
        if version == self._version:
            return
        found = await self._records.all(EVERYWHERE, CONFIGS)
        opened = {SubscriptionName(name): self._open(SubscriptionName(name), record) for name, record in found.items()}
        # The version is older than what was read, never newer: at worst it is read once more.
        self._version = version
        self._known = {name: config for name, config in opened.items() if config is not None}
        self._changed.set()

    async def changes(self, seconds: float) -> None:
        """Return when `known` has changed since the last call, or after `seconds`. For one caller."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def _seal(self, name: SubscriptionName, config: PushConfig) -> bytes:
        return self._vault.seal(orjson.dumps(asdict(config)).decode(), purpose=_purpose(name)).encode()

    def _open(self, name: SubscriptionName, record: bytes) -> PushConfig | None:
        text = self._vault.open(record.decode(), purpose=_purpose(name))
        if text is None:
            log.warning("a push configuration cannot be opened with this secret key", extra={"subscription": name})
            return None
        values = orjson.loads(text)
        return PushConfig(
            **{
                **values,
                "type": PushType(values["type"]),
                "retry": RetryPolicy(values["retry"]),
                "authorization": Authorization(values["authorization"]),
            }
        )


def _purpose(name: SubscriptionName) -> str:
    return f"push {name}"
