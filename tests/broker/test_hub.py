"""The hub over the memory store and a bus in this process that a test can delay, cut and garble."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from broker.errors import AlreadySubscribed, NotSubscribed, Unavailable, UnknownTopic
from broker.hub import Hub, HubLimits
from broker.messages import Entry, Kind, Message, pack
from broker.names import TopicName
from broker.observe import Silent
from broker.ports import FromTime, Last, Placed
from broker.positions import Position, Range, Recovery
from broker.store.base import AppendRequest, Page, Retention
from broker.store.memory import MemoryStore

TOPIC = TopicName("default/news")
OTHER = TopicName("default/sport")
DEADLINE_SECONDS = 5.0


class Lines:
    """A dialect that a test can read: one line a frame."""

    def __init__(self) -> None:
        self.encoded = 0

    def message(self, topic: TopicName, entry: Entry) -> bytes:
        self.encoded += 1
        return entry.message.payload + b"\n"

    def gap(self, topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> bytes:
        ranges = ",".join(f"{r.first}..{r.last}" for r in missing)
        return f"{recovery} {ranges}\n".encode()


@dataclass(eq=False)
class Socket:
    dialect: Lines
    room: int = 1_000_000
    """Writes that it takes before it is full."""
    written: list[bytes] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    ended: list[TopicName] = field(default_factory=list)
    broken: bool = False

    @property
    def paused(self) -> bool:
        return self.room <= 0

    def write(self, data: bytes) -> None:
        assert self.placed, "a frame came before the answer"
        assert not self.paused, "written to although paused"
        if self.broken:
            raise ConnectionResetError("broken")
        self.room -= 1
        self.written.append(data)

    def topic_ended(self, topic: TopicName) -> None:
        self.ended.append(topic)

    @property
    def lines(self) -> list[str]:
        return b"".join(self.written).decode().splitlines()


class Counting(Silent):
    def __init__(self) -> None:
        self.repairs: list[str] = []
        self.fallen = 0
        self.frames = 0

    def gap_repaired(self, reason: str) -> None:
        self.repairs.append(reason)

    def left_feed(self) -> None:
        self.fallen += 1

    def delivered(self, frames: int) -> None:
        self.frames += frames


class Log(MemoryStore):
    """The memory store with faults: away, slow, and counted reads."""

    def __init__(self, announce: Callable[[TopicName, bytes], None]) -> None:
        self.now = 1_000
        super().__init__(now_ms=lambda: self.now, announce=announce)
        self.reads: list[Position | None] = []
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, topic: TopicName, after: Position | None, *, max_entries: int, max_bytes: int) -> Page:
        self.reads.append(after)
        if self.away:
            raise Unavailable
        page = await super().read(topic, after, max_entries=max_entries, max_bytes=max_bytes)
        await self.gate.wait()
        return page

    async def ends(self, topics: Sequence[TopicName]) -> list[Position | None]:
        if self.away:
            raise Unavailable
        return await super().ends(topics)

    async def say(self, *texts: str, topic: TopicName = TOPIC) -> None:
        envelopes = tuple(pack(Message(Kind.TEXT, text.encode())) for text in texts)
        await self.append(topic, [AppendRequest(envelopes)])


@dataclass
class Node:
    """The hub, its store and its bus. What is announced waits in `channel` until `hear`, if `deaf` is set."""

    limits: HubLimits = field(default_factory=lambda: HubLimits(grace_seconds=0, watch_seconds=1000))
    deaf: bool = False
    lossy: bool = False
    channel: list[tuple[TopicName, bytes]] = field(default_factory=list)
    followed: list[TopicName] = field(default_factory=list)
    unfollowed: list[TopicName] = field(default_factory=list)
    asked_topology: int = 0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.log = Log(self.announce)
        self.observer = Counting()
        self.dialect = Lines()
        self.creates = False
        self.confirmed = asyncio.Event()
        self.confirmed.set()
        self.hub = Hub(
            self.log,
            self,
            observer=self.observer,
            now_ms=lambda: self.log.now,
            monotonic=lambda: self.now,
            ask_topology=self.ask_topology,
            create_on_use=self.create_on_use,
            limits=self.limits,
        )

    async def ask_topology(self) -> None:
        self.asked_topology += 1

    async def create_on_use(self, topic: TopicName) -> None:
        if not self.creates:
            raise UnknownTopic(f"The topic {topic} does not exist.")
        await self.log.create_topic(topic, Retention())

    def announce(self, topic: TopicName, payload: bytes) -> None:
        if self.lossy or topic not in self.followed:
            return
        self.channel.append((topic, payload))
        if not self.deaf:
            self.hear()

    def hear(self) -> None:
        batch, self.channel = self.channel, []
        self.hub.on_announcements(batch)

    async def follow(self, topic: TopicName) -> None:
        await self.confirmed.wait()
        self.followed.append(topic)

    def unfollow(self, topic: TopicName) -> None:
        self.unfollowed.append(topic)

    def socket(self, room: int = 1_000_000) -> Socket:
        return Socket(self.dialect, room)

    async def join(self, since: object = "now", *, topic: TopicName = TOPIC, socket: Socket | None = None) -> Socket:
        socket = socket or self.socket()
        await self.hub.subscribe(socket, topic, since, placed=socket.placed.append)  # type: ignore[arg-type]
        return socket


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    for topic in (TOPIC, OTHER):
        await node.log.create_topic(topic, Retention())
    running = asyncio.create_task(node.hub.run())
    await asyncio.sleep(0)
    yield node
    running.cancel()
    await asyncio.wait([running])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def idle() -> None:
    """Let everything that needs no waiting happen."""
    for _ in range(30):
        await asyncio.sleep(0)


async def test_a_subscriber_from_now_gets_what_comes(node: Node) -> None:
    await node.log.say("old")
    socket = await node.join()
    await node.log.say("a")
    await node.log.say("b", "c")
    assert socket.lines == ["a", "b", "c"]
    assert socket.placed[0].recovery is Recovery.NONE
    assert socket.placed[0].end.offset == socket.placed[0].after.offset == 0


@pytest.mark.parametrize(
    ("since", "lines", "after"),
    [
        ("earliest", ["1", "2", "3"], -1),
        (Last(2), ["2", "3"], 0),
        (Last(9), ["1", "2", "3"], -1),
        (Last(0), [], 2),
        (FromTime(1_002), ["3"], 1),
        (FromTime(9_999), [], 2),
        ("now", [], 2),
    ],
)
async def test_since_says_where_delivery_starts(node: Node, since: object, lines: list[str], after: int) -> None:
    for text in "123":
        await node.log.say(text)
        node.log.now += 1
    socket = await node.join(since)
    await node.log.say("live")
    await until(lambda: socket.lines == [*lines, "live"])
    assert socket.placed[0].recovery is Recovery.NONE
    assert socket.placed[0].after.offset == after
    assert socket.placed[0].end.offset == 2


async def test_a_position_resumes_right_after_itself(node: Node) -> None:
    first = await node.join()
    await node.log.say("1", "2", "3")
    epoch = first.placed[0].end.epoch
    socket = await node.join(Position(epoch, 0))
    await until(lambda: socket.lines == ["2", "3"])
    assert socket.placed[0].recovery is Recovery.COMPLETE


async def test_what_was_trimmed_or_rolled_back_is_in_the_answer_and_in_no_frame(node: Node) -> None:
    first = await node.join()
    await node.log.say("1", "2", "3")
    epoch = first.placed[0].end.epoch
    await node.log.trim(TOPIC, Retention(2, 10**9, 10**9))
    trimmed = await node.join(Position(epoch, -1))
    await until(lambda: trimmed.lines == ["2", "3"])
    assert trimmed.placed[0].recovery is Recovery.TRIMMED
    assert trimmed.placed[0].missing == (Range(epoch, 0, 0),)
    ahead = await node.join(Position(epoch, 7))
    assert ahead.placed[0].missing == (Range(epoch, 3, 7),)
    assert ahead.lines == []
    lost = await node.join(Position(5, 7))
    assert lost.placed[0].recovery is Recovery.LOST
    await until(lambda: lost.lines == ["2", "3"])


async def test_a_page_kept_for_an_invented_position_calls_nobody_rolled_back(node: Node) -> None:
    first = await node.join()
    ahead = Position(first.placed[0].end.epoch, 1)
    assert (await node.join(ahead)).placed[0].recovery is Recovery.ROLLED_BACK
    await node.log.say("1", "2", "3")
    honest = await node.join(ahead)
    assert honest.placed[0].recovery is Recovery.COMPLETE
    await until(lambda: honest.lines == ["3"])


async def test_many_who_arrive_at_once_share_the_start_and_the_reads(node: Node) -> None:
    await node.log.say(*(str(n) for n in range(20)))
    start = Position((await node.log.topic(TOPIC)).log.epoch, -1)
    sockets = await asyncio.gather(*(node.join(start) for _ in range(1000)))
    await until(lambda: all(len(socket.lines) == 20 for socket in sockets))
    assert node.log.reads == [None, start]  # the feed's start, and one page for all
    assert node.dialect.encoded == 20
    await node.log.say("live")
    assert all(socket.lines[-1] == "live" for socket in sockets)
    assert node.dialect.encoded == 21
    assert node.followed == [TOPIC]


async def test_the_start_waits_for_the_channel_and_keeps_what_is_announced_meanwhile(node: Node) -> None:
    node.confirmed.clear()
    joining = asyncio.create_task(node.join())
    await idle()
    assert not joining.done()
    node.log.gate.clear()
    node.confirmed.set()
    await idle()
    await node.log.say("during the start")  # after the end was read, before the answer came
    node.log.gate.set()
    socket = await joining
    # Its own "now" was read after the start, so it is not told of what came before.
    await node.log.say("after")
    assert socket.lines == ["after"]


async def test_now_read_ahead_of_the_feed_joins_exactly_there(node: Node) -> None:
    early = await node.join()
    node.deaf = True
    await node.log.say("1", "2")
    late = await node.join()
    await node.log.say("3")
    await idle()
    assert late.placed[0].end.offset == 1
    node.hear()
    assert early.lines == ["1", "2", "3"]
    assert late.lines == ["3"]


async def test_a_slow_socket_leaves_the_feed_and_catches_up_at_its_own_pace(node: Node) -> None:
    fast, slow = await node.join(), await node.join(socket=node.socket(room=1))
    await node.log.say("1")
    for n in range(2, 2000):
        await node.log.say(str(n))
    assert slow.lines == ["1"]
    assert node.observer.fallen == 1
    node.log.reads.clear()
    while len(slow.lines) < 1999:
        have, reads = len(slow.lines), len(node.log.reads)
        slow.room = 1
        node.hub.resume(slow)
        await until(lambda have=have: len(slow.lines) > have)
        await idle()
        assert len(node.log.reads) <= reads + 1  # a full socket is not read for
    assert len(node.log.reads) == 3  # pages of 500; the rest was in the ring
    assert fast.lines == slow.lines == [str(n) for n in range(1, 2000)]
    slow.room = 10
    node.hub.resume(slow)
    await node.log.say("live")
    assert slow.lines[-1] == "live"


async def test_a_socket_that_paused_a_moment_ago_needs_no_read(node: Node) -> None:
    slow = await node.join(socket=node.socket(room=1))
    await node.log.say("1")
    await node.log.say("2", "3")
    node.log.reads.clear()
    slow.room = 5
    node.hub.resume(slow)
    assert slow.lines == ["1", "2", "3"]
    assert node.log.reads == []


async def test_several_topics_of_one_read_are_one_write(node: Node) -> None:
    socket = await node.join()
    await node.join(topic=OTHER, socket=socket)
    single = await node.join(topic=OTHER)
    node.deaf = True
    await node.log.say("news")
    await node.log.say("sport", topic=OTHER)
    await node.log.say("more news")
    node.hear()
    assert socket.written == [b"news\nmore news\nsport\n"]
    assert single.written == [b"sport\n"]


async def test_a_socket_paused_by_one_topic_falls_out_of_both(node: Node) -> None:
    socket = await node.join(socket=node.socket(room=1))
    await node.join(topic=OTHER, socket=socket)
    await node.log.say("fills it")
    node.deaf = True
    await node.log.say("news")
    await node.log.say("sport", topic=OTHER)
    node.hear()
    assert socket.lines == ["fills it"]
    socket.room = 10
    node.hub.resume(socket)
    await until(lambda: sorted(socket.lines) == ["fills it", "news", "sport"])


async def test_more_than_the_mark_is_cut_and_stops_at_the_chunk_that_filled_the_socket() -> None:
    node = Node(limits=HubLimits(grace_seconds=0, watch_seconds=1000, chunk_bytes=100))
    await node.log.create_topic(TOPIC, Retention())
    running = asyncio.create_task(node.hub.run())
    await asyncio.sleep(0)
    slow, fast = await node.join(socket=node.socket(room=1)), await node.join()
    node.deaf = True
    texts = [f"{n:09}" for n in range(30)]
    for text in texts:
        await node.log.say(text)
    node.hear()
    assert [len(data) for data in fast.written] == [100, 100, 100]
    assert slow.lines == texts[:10]
    slow.room = 9
    node.hub.resume(slow)
    assert slow.lines == texts
    running.cancel()
    await asyncio.wait([running])


async def test_a_socket_that_raises_hurts_nobody_else(node: Node) -> None:
    sockets = [await node.join() for _ in range(5)]
    sockets[2].broken = True
    await node.log.say("1")
    assert [len(socket.lines) for socket in sockets] == [1, 1, 0, 1, 1]
    with pytest.raises(NotSubscribed):
        node.hub.unsubscribe(sockets[2], TOPIC)


async def test_the_watchdog_finds_a_lost_last_announcement(node: Node) -> None:
    socket = await node.join()
    node.lossy = True
    await node.log.say("lost on the way")
    await idle()
    assert socket.lines == []
    await node.hub.watch_once()
    await until(lambda: socket.lines == ["lost on the way"])
    assert node.observer.repairs == ["watchdog"]
    await node.hub.watch_once()
    assert node.observer.repairs == ["watchdog"]


async def test_a_hole_is_repaired_once_for_all(node: Node) -> None:
    sockets = [await node.join() for _ in range(50)]
    node.lossy = True
    await node.log.say("1")
    node.lossy = False
    node.log.reads.clear()
    await node.log.say("2")
    await until(lambda: all(socket.lines == ["1", "2"] for socket in sockets))
    assert len(node.log.reads) == 1
    assert node.observer.repairs == ["announcement"]


async def test_a_rollback_is_told_to_everyone_before_the_next_message(node: Node) -> None:
    joined, slow = await node.join(), await node.join(socket=node.socket(room=2))
    await node.log.say("1")
    replica = node.log.fork()
    await node.log.say("2", "3")
    await node.log.say("slow misses this")
    node.log.restore(replica)
    await node.log.say("4")
    await until(lambda: joined.lines[-1:] == ["4"])
    assert joined.lines == ["1", "2", "3", "slow misses this", "rolled_back 1..3", "4"]
    slow.room = 9
    node.hub.resume(slow)
    assert slow.lines == joined.lines


async def test_a_lost_announcement_is_also_found_when_the_bus_says_so(node: Node) -> None:
    socket = await node.join()
    node.lossy = True
    await node.log.say("1")
    node.hub.on_possible_gap([TOPIC, OTHER], "reconnected")
    await until(lambda: socket.lines == ["1"])
    assert node.observer.repairs == ["reconnected"]


async def test_bytes_that_no_append_wrote_make_it_read_the_log(node: Node) -> None:
    socket = await node.join()
    node.lossy = True
    await node.log.say("1")
    node.hub.on_announcements([(TOPIC, b"\xc1garbage")])
    await until(lambda: socket.lines == ["1"])


async def test_following_creates_a_topic_where_policy_allows_that(node: Node) -> None:
    unknown = TopicName("default/unknown")
    with pytest.raises(UnknownTopic):
        await node.join(topic=unknown)
    node.creates = True
    socket = await node.join(topic=unknown)
    assert socket.placed[0].end.offset == -1
    assert socket.placed[0].recovery is Recovery.NONE


async def test_a_deleted_topic_ends_for_everyone(node: Node) -> None:
    joined, slow = await node.join(), await node.join(socket=node.socket(room=1))
    await node.log.say("1")
    await node.log.say("2")
    await node.log.delete_topic(TOPIC)
    assert joined.ended == slow.ended == [TOPIC]
    assert node.unfollowed == [TOPIC]
    with pytest.raises(NotSubscribed):
        node.hub.unsubscribe(joined, TOPIC)
    with pytest.raises(UnknownTopic):
        await node.join(socket=joined)
    await node.log.create_topic(TOPIC, Retention())
    await node.join(socket=joined)
    await node.log.say("again")
    assert joined.lines == ["1", "2", "again"]


async def test_the_watchdog_finds_a_deletion_that_was_not_heard(node: Node) -> None:
    socket = await node.join()
    node.lossy = True
    await node.log.delete_topic(TOPIC)
    await node.hub.watch_once()
    await until(lambda: socket.ended == [TOPIC])


async def test_a_topic_recreated_meanwhile_goes_on_as_lost(node: Node) -> None:
    socket = await node.join()
    await node.log.say("1")
    node.lossy = True
    await node.log.delete_topic(TOPIC)
    await node.log.create_topic(TOPIC, Retention())
    await node.log.say("a", "b")
    await node.hub.watch_once()
    await until(lambda: socket.lines == ["1", "lost ", "a", "b"])
    assert socket.ended == []


async def test_while_the_log_is_away_sockets_stay_and_get_all_of_it_later(node: Node) -> None:
    joined, slow = await node.join(), await node.join(socket=node.socket(room=1))
    await node.log.say("1")
    node.lossy = True
    await node.log.say("2")
    node.log.away = True
    node.hub.on_possible_gap([TOPIC], "reconnected")
    slow.room = 10
    node.hub.resume(slow)
    await node.hub.watch_once()
    with pytest.raises(Unavailable):
        await node.join()
    await idle()
    assert joined.lines == ["1"]
    node.log.away = False
    await until(lambda: joined.lines == slow.lines == ["1", "2"])


async def test_a_position_from_an_unknown_future_comes_back_for_15_seconds(node: Node) -> None:
    first = await node.join("now")
    await node.log.say("1")
    future = Position(first.placed[0].end.epoch + 5_000_000, 7)
    for now in (0.0, 7.0, 14.9):
        node.now = now
        with pytest.raises(Unavailable) as refusal:
            await node.join(future)
        assert refusal.value.retry_ms == 1000
    await until(lambda: node.asked_topology >= 1)
    node.now = 15.1
    lost = await node.join(future)
    assert lost.placed[0].recovery is Recovery.LOST
    await until(lambda: lost.lines == ["1"])


async def test_subscribing_twice_is_refused_also_while_the_first_is_under_way(node: Node) -> None:
    node.log.gate.clear()
    socket = node.socket()
    joining = asyncio.create_task(node.join(socket=socket))
    await idle()
    with pytest.raises(AlreadySubscribed):
        await node.join(socket=socket)
    node.log.gate.set()
    await joining
    with pytest.raises(AlreadySubscribed):
        await node.join(socket=socket)


async def test_an_unknown_topic_is_refused_and_nothing_is_followed(node: Node) -> None:
    nowhere = TopicName("default/nowhere")
    socket = node.socket()
    for _ in range(2):
        with pytest.raises(UnknownTopic):
            await node.join(topic=nowhere, socket=socket)
    assert node.unfollowed == [nowhere, nowhere]


@pytest.mark.parametrize("way", ["leave", "unsubscribe"])
async def test_whoever_leaves_while_subscribing_is_not_placed(node: Node, way: str) -> None:
    node.log.gate.clear()
    socket = node.socket()
    joining = asyncio.create_task(node.join(socket=socket))
    await idle()
    if way == "leave":
        node.hub.leave(socket)
    else:
        node.hub.unsubscribe(socket, TOPIC)
    node.log.gate.set()
    await joining
    assert socket.placed == []
    await node.log.say("1")
    assert socket.lines == []


async def test_whoever_has_left_gets_nothing_more(node: Node) -> None:
    gone, unsubscribed, slow = await node.join(), await node.join(), await node.join(socket=node.socket(room=1))
    await node.log.say("1")
    await node.log.say("2")
    node.hub.leave(gone)
    node.hub.leave(gone)
    node.hub.unsubscribe(unsubscribed, TOPIC)
    node.hub.leave(slow)
    await node.log.say("3")
    slow.room = 10
    node.hub.resume(slow)
    await idle()
    assert gone.lines == unsubscribed.lines == ["1", "2"]
    assert slow.lines == ["1"]


async def test_a_topic_is_followed_a_little_longer_than_it_is_needed(node: Node) -> None:
    socket = await node.join()
    node.hub.leave(socket)
    await node.hub.watch_once()
    node.now = 0.8
    await node.hub.watch_once()
    assert node.unfollowed == []
    again = await node.join()
    node.hub.leave(again)
    node.now = 2.0
    await node.hub.watch_once()
    assert node.unfollowed == [], "it was needed again since"
    node.now = 3.0
    await node.hub.watch_once()
    assert node.unfollowed == [TOPIC]
    assert node.followed == [TOPIC]


def test_who_has_left_is_not_counted_for_two_seconds() -> None:
    limits = HubLimits()
    look = limits.watch_seconds / 2
    looks = 1 + math.ceil(limits.linger_seconds / look)
    assert looks * look <= 1.5, "with time for a loaded loop"


async def test_a_node_follows_a_bounded_number_of_topics() -> None:
    node = Node(limits=HubLimits(feeds=1, watch_seconds=1000))
    for topic in (TOPIC, OTHER):
        await node.log.create_topic(topic, Retention())
    running = asyncio.create_task(node.hub.run())
    await asyncio.sleep(0)
    await node.join()
    with pytest.raises(Unavailable):
        await node.join(topic=OTHER)
    running.cancel()
    await asyncio.wait([running])


async def test_nobody_waits_for_a_hub_that_does_not_run_or_stops() -> None:
    node = Node()
    with pytest.raises(Unavailable):
        await node.join()
    await node.log.create_topic(TOPIC, Retention())
    running = asyncio.create_task(node.hub.run())
    await asyncio.sleep(0)
    node.log.gate.clear()
    joining = asyncio.create_task(node.join())
    await idle()
    running.cancel()
    with pytest.raises(Unavailable):
        await joining


class Reader:
    """A socket of the turmoil below, and what it makes of its frames: the log from some offset on."""

    def __init__(self, socket: Socket, topic: TopicName) -> None:
        self.socket = socket
        self.topic = topic

    def log(self) -> tuple[int, list[str]]:
        placed = self.socket.placed[0]
        start, have = placed.after.offset + 1, list[str]()
        for line in self.socket.lines:
            if line == "lost ":
                start, have = 0, []
            elif line.startswith("rolled_back"):
                first, last = map(int, line.split()[1].split(".."))
                assert last == start + len(have) - 1, "not what it had"
                have = have[: max(first - start, 0)]
                start = min(start, first)
            else:
                have.append(line)
        return start, have


async def turmoil(node: Node, rng: random.Random, readers: list[Reader], replica: list[MemoryStore]) -> None:
    """One random event."""
    dice = rng.random()
    topic = rng.choice((TOPIC, OTHER))
    if dice < 0.4:
        node.lossy = rng.random() < 0.15
        await node.log.say(*(f"{topic}-{rng.random()}" for _ in range(rng.randint(1, 4))), topic=topic)
    elif dice < 0.6:
        if rng.random() < 0.2:
            rng.shuffle(node.channel)
        if rng.random() < 0.2:
            node.channel += node.channel[:1]
        node.hear()
    elif dice < 0.7 and len(readers) < 12 and not node.log.away:
        end = (await node.log.topic(topic)).log.end
        since = rng.choice(("now", "earliest", Last(2), Position(end.epoch, max(-1, end.offset - rng.randint(0, 5)))))
        readers.append(Reader(await node.join(since, topic=topic, socket=node.socket(rng.randint(0, 5))), topic))
    elif dice < 0.8 and readers:
        reader = rng.choice(readers)
        reader.socket.room = rng.randint(1, 4)
        node.hub.resume(reader.socket)
    elif dice < 0.84:
        node.log.away = not node.log.away
        node.hub.on_possible_gap([TOPIC], "reconnected")
    elif dice < 0.88:
        await node.hub.watch_once()
    elif dice < 0.91:
        replica[:] = [node.log.fork()]
    elif dice < 0.93 and replica:
        node.log.restore(replica.pop())
    else:
        await idle()


@pytest.mark.parametrize("seed", range(60))
async def test_in_any_turmoil_everyone_ends_with_the_log(seed: int) -> None:
    rng = random.Random(seed)
    node = Node(limits=HubLimits(grace_seconds=0, watch_seconds=1000, chunk_bytes=rng.choice((50, 65536))), deaf=True)
    for topic in (TOPIC, OTHER):
        await node.log.create_topic(topic, Retention())
    running = asyncio.create_task(node.hub.run())
    await asyncio.sleep(0)
    readers: list[Reader] = []
    replica: list[MemoryStore] = []
    for _ in range(150):
        await turmoil(node, rng, readers, replica)
    node.log.away = False

    async def ended() -> bool:
        node.hear()
        await node.hub.watch_once()
        logs = {topic: [e.message.payload.decode() for e in (await entire(node, topic))] for topic in (TOPIC, OTHER)}
        for reader in readers:
            reader.socket.room = 1_000_000
            node.hub.resume(reader.socket)
        return all(have == logs[r.topic][start:] for r in readers for start, have in (r.log(),))

    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await ended():
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.wait([running])


async def entire(node: Node, topic: TopicName) -> Sequence[Entry]:
    return (await MemoryStore.read(node.log, topic, None, max_entries=10_000, max_bytes=10**9)).entries
