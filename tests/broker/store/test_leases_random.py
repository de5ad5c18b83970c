"""The scripts of subscriptions against the reference in memory, over random histories.

Each step is at a millisecond of its own in both, so that what fell due earlier is the same one in both.
"""

import random

import pytest
import servers
from direct import store_on
from logs import NOTHING, TOPIC
from subs import CURSOR, LONG_MS, SHARED, SUB, FullStore, put_keyed

from broker.errors import HeadraceError
from broker.names import SubscriptionName
from broker.positions import LogState, Position
from broker.store.base import Retention
from broker.store.keys import Keys, SubscriptionKeys
from broker.store.memory import MemoryStore
from broker.store.subscriptions import Ack, Extend, Lease, Leased, Nack, Release, SubscriptionInfo, SubscriptionSettings

PLAIN = SubscriptionName("default/cursor")
STEPS = 150
KEYS = Keys().topic(TOPIC)
ORDERED = SubscriptionSettings(kind=SHARED.kind, ordering_attribute="key", max_outstanding=12)
FREE = SubscriptionSettings(kind=SHARED.kind, max_outstanding=9)


def shape_of_log(log: LogState | None) -> object:
    return log and ([link.first for link in log.chain], log.next_offset, log.first_offset)


def shape(answer: object) -> object:
    """What must be alike in both: everything but epochs, nonces and times."""
    match answer:
        case SubscriptionInfo():
            return (
                *(answer.cursor.offset, answer.generation, answer.pending, answer.lag, answer.trimmed),
                *(
                    answer.expired,
                    answer.restarts,
                    answer.delivered,
                    answer.delivered_bytes,
                    answer.oldest_unacked_ms is None,
                ),
                shape_of_log(answer.log),
            )
        case Leased():
            leases = [(one.entry.position.offset, one.entry.message, one.attempt) for one in answer.leases]
            due = answer.next_deadline_ms is None or answer.next_deadline_ms > answer.now_ms
            return leases, answer.more, answer.trimmed, answer.expired, answer.restarted, due
        case HeadraceError():
            return answer.code
    return answer


class Pair:
    """A store on Redis and one in memory that must say the same."""

    def __init__(self, server: servers.Server, rng: random.Random) -> None:
        self.server, self.rng = server, rng
        self.now = 1_000_000
        self.redis = store_on(server)
        self.memory = MemoryStore(now_ms=lambda: self.now)
        self.taken: list[tuple[Lease, Lease]] = []
        self.written = 0

    async def both(self, verb: str, *args: object, **named: object) -> tuple[object, object]:
        return await self.each(verb, (args, args), **named)

    async def each(self, verb: str, args: tuple[tuple[object, ...], ...], **named: object) -> tuple[object, object]:
        self.tick()
        answers = []
        for store, own in zip((self.redis, self.memory), args, strict=True):
            try:
                answers.append(await getattr(store, verb)(*own, **named))
            except HeadraceError as error:
                answers.append(error)
        assert shape(answers[0]) == shape(answers[1]), (verb, args, named)
        return answers[0], answers[1]

    def tick(self) -> None:
        """Let one millisecond pass in both."""
        self.now += 1
        start = self.redis_ms()
        while self.redis_ms() == start:
            pass

    def redis_ms(self) -> int:
        seconds, microseconds = self.server.client.time()
        return int(seconds * 1000 + microseconds // 1000)

    async def put(self) -> None:
        rows = [f"{self.rng.choice('abc')}{self.written + number}" for number in range(self.rng.randint(1, 4))]
        self.written += len(rows)
        lives = tuple(self.rng.choice([0, 0, 0, 0, 1, LONG_MS]) for _ in rows)
        for store in (self.redis, self.memory):
            await put_keyed(store, *rows, lives_ms=lives)

    async def lease(self) -> None:
        most, size = self.rng.choice([0, 1, 2, 5, 20]), self.rng.choice([1, 60, 10**6])
        answers = await self.both(
            "lease", SUB, max_entries=most, max_bytes=size, deadline_ms=self.rng.choice([0, LONG_MS])
        )
        if isinstance(answers[0], Leased) and isinstance(answers[1], Leased):
            self.taken += zip(answers[0].leases, answers[1].leases, strict=True)

    async def settle(self) -> None:
        chosen = self.rng.sample(self.taken, min(len(self.taken), self.rng.randint(1, 5)))
        verb, wait = self.rng.choice("aaanner"), self.rng.choice([0, LONG_MS])

        def settlement(lease: Lease) -> object:
            offset = lease.entry.position.offset
            match verb:
                case "a":
                    return Ack(offset, lease.token)
                case "n":
                    return Nack(offset, lease.token, wait)
                case "e":
                    return Extend(offset, lease.token, wait)
            return Release(offset, lease.token)

        sides = [[settlement(lease) for lease in side] for side in zip(*chosen, strict=True)] or [[], []]
        await self.each("settle", ((SUB, sides[0]), (SUB, sides[1])))

    async def pull(self) -> None:
        most, size = self.rng.choice([1, 2, 9]), self.rng.choice([1, 60, 10**6])
        self.tick()
        answers: list[object] = []
        for store in (self.redis, self.memory):
            window = await store.pull_cursor(PLAIN, max_entries=most, max_bytes=size)
            offsets = [entry.position.offset for entry in window.entries]
            answers.append((offsets, window.trimmed, window.expired, window.restarted))
        assert answers[0] == answers[1]

    async def ack(self) -> None:
        await self.both("ack_cursor", PLAIN, self.rng.randint(0, self.written))

    async def seek(self) -> None:
        name, offset = self.rng.choice([SUB, PLAIN]), self.rng.randint(0, self.written)
        if self.rng.random() < 0.5:
            await self.both("seek", name, offset)
        else:
            chains = [(await store.topic(TOPIC)).log.chain for store in (self.redis, self.memory)]
            at = self.rng.randrange(len(chains[0]))
            places = [((name, Position(chain[at].epoch, offset - 1)),) for chain in chains]
            await self.each("seek", (places[0][0], places[1][0]))

    async def trim(self) -> None:
        self.tick()
        most = self.rng.choice([0, 2, 5, 10])
        for store in (self.redis, self.memory):
            await store.trim(TOPIC, Retention(most, 10**9, 10**9))

    async def promote(self) -> None:
        self.server.client.hset(KEYS.meta, "replid", f"{self.rng.getrandbits(160):040x}")
        self.memory.promote()

    async def recreate(self) -> None:
        for store in (self.redis, self.memory):
            await store.delete_topic(TOPIC)
        for name in (SUB, PLAIN):
            await self.both("subscription", name)
        for store in (self.redis, self.memory):
            await store.create_topic(TOPIC, NOTHING)
        self.written = 0

    async def step(self) -> None:
        verbs = [self.put] * 8 + [self.lease] * 10 + [self.settle] * 10 + [self.pull] * 3 + [self.ack] * 3
        verbs += [self.trim, self.promote, self.seek]
        if self.rng.random() < 0.01:
            verbs = [self.recreate]
        await self.rng.choice(verbs)()
        for name in (SUB, PLAIN):
            await self.both("subscription", name)
            self.check(Keys().subscription(TOPIC, name))

    def check(self, keys: SubscriptionKeys) -> None:
        """What the keys of a subscription say agrees."""
        client = self.server.client
        epoch, cursor, held = client.hmget(keys.sub, "epoch", "cursor", "held")
        (group,) = [found for found in client.xinfo_groups(keys.log) if found["name"] == keys.group]
        assert group["last-delivered-id"] == (b"0-0" if cursor == b"-1" else epoch + b"-" + cursor)
        leases = client.hgetall(keys.leases)
        records = {field for field in leases if field.isdigit()}
        assert sum(field.startswith(b"n") for field in leases) == int(held)
        busy = {b"k" + leases[field].split(b":")[3] for field in records} - {b"k"}
        assert {field for field in leases if field.startswith(b"k")} == busy
        waiting = {member for member in client.zrange(keys.due, 0, -1) if member != b"v"}
        found = client.xpending_range(keys.log, keys.group, "-", "+", 1000)
        assert {b"%016d" % int(one["message_id"].split(b"-")[1]) for one in found} == records
        assert waiting <= records
        assert len(records - waiting) == int(held)


@pytest.mark.parametrize("kind", ["valkey", "redis7"])
@pytest.mark.parametrize("settings", [FREE, ORDERED], ids=["free", "ordered"])
@pytest.mark.parametrize("seed", range(4))
async def test_redis_does_what_the_reference_does(
    request: pytest.FixtureRequest, kind: str, settings: SubscriptionSettings, seed: int
) -> None:
    server: servers.Server = request.getfixturevalue(kind)
    server.flush()
    pair = Pair(server, random.Random(seed))
    stores: tuple[FullStore, FullStore] = (pair.redis, pair.memory)
    for store in stores:
        await store.create_topic(TOPIC, NOTHING)
        await store.create_subscription(SUB, TOPIC, settings)
        await store.create_subscription(PLAIN, TOPIC, CURSOR)
    for _ in range(STEPS):
        await pair.step()
