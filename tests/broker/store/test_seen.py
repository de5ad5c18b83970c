"""What was seen to go wrong, played on real servers with real replicas (DESIGN 4, the sentences marked "seen").

Each test is a loss, a repeat or a lie that a simpler design produces.
"""

import re
from collections.abc import Callable

import pytest
import servers
from direct import promote, replid, restart, store_on, with_replica
from logs import NOTHING, TOPIC, keyed, placed, put, put_one, request, texts_after

from broker.errors import UnknownTopic
from broker.names import TopicName
from broker.positions import REPLID_BITS, Position, Range, Recovery, is_unknown_future
from broker.store.base import LogState, Retention
from broker.store.keys import Keys
from broker.store.redis import TOMBSTONE_SECONDS

Starting = Callable[..., servers.Server]
KEYS = Keys().topic(TOPIC)
LOW_BITS = 1 << REPLID_BITS


async def log_of(server: servers.Server) -> LogState:
    return (await store_on(server).read(TOPIC, None, max_entries=0, max_bytes=0)).log


async def test_two_promoted_replicas_of_one_primary_mint_different_epochs(starting: Starting) -> None:
    """Without bits of the replication id both minted the same, and `complete` was said while five were missing."""
    primary = starting()
    left, right = starting(replica_of=primary), starting(replica_of=primary)
    primary.wait_for_replicas(2)
    await store_on(primary).create_topic(TOPIC, NOTHING)
    await put(store_on(primary), "a", "b")
    primary.wait_for_replicas(2)
    promote(left)
    promote(right)
    on_left = await put(store_on(left), "l2", "l3", "l4", "l5", "l6")
    on_right = await put(store_on(right), "r2")
    assert (on_left.offset, on_right.offset) == (6, 2)
    assert on_left.epoch % LOW_BITS != on_right.epoch % LOW_BITS
    assert on_left.epoch != on_right.epoch
    for last, other in ((on_left, right), (on_right, left)):
        verdict = await placed(store_on(other), last)
        assert verdict.recovery is Recovery.LOST
        assert len(await texts_after(store_on(other), verdict.after)) == (await log_of(other)).next_offset


async def test_the_epoch_is_made_of_seconds_and_the_replication_id(starting: Starting) -> None:
    server = starting()
    info = await store_on(server).create_topic(TOPIC, NOTHING)
    assert info.log.epoch % LOW_BITS == int(replid(server)[:6], 16) % LOW_BITS
    assert abs(info.log.epoch // LOW_BITS - info.created_ms // 1000) <= 1
    assert info.log.epoch < 2**53


async def test_ids_keep_every_digit(starting: Starting) -> None:
    """Lua's `..` writes 3.7e+15, which is no ID."""
    server = starting()
    await store_on(server).create_topic(TOPIC, NOTHING)
    last = await put(store_on(server), "a", "b")
    ids = [name.decode() for name, _ in server.client.xrange(KEYS.log)]
    assert ids == [f"{last.epoch}-0", f"{last.epoch}-1"]
    assert re.fullmatch(r"\d{16}", str(last.epoch))


async def test_an_epoch_is_above_whatever_came_before(starting: Starting) -> None:
    """The clock of a promoted replica may be behind; the log and meta may know of a higher epoch each."""
    server = starting()
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    await put(store, "a")
    ahead = (2**32 - 10) * LOW_BITS
    server.client.hset(KEYS.meta, mapping={"epoch": ahead, "chain": f"{ahead}:0", "replid": "f" * 40})
    log = await log_of(server)
    assert log.epoch // LOW_BITS == ahead // LOW_BITS + 1
    in_log = log.epoch + 3 * LOW_BITS
    server.client.xadd(KEYS.log, {"t": 1, "m": "x"}, id=f"{in_log}-7")
    server.client.hset(KEYS.meta, "replid", "e" * 40)
    log = await log_of(server)
    assert log.epoch // LOW_BITS == in_log // LOW_BITS + 1
    assert log.next_offset == 8
    assert log.epoch < 2**53


async def test_a_topic_deleted_and_recreated_never_reuses_a_position(starting: Starting) -> None:
    """195 of 200 quick recreations did."""
    store = store_on(starting())
    seen: list[Position] = []
    for _ in range(200):
        await store.create_topic(TOPIC, NOTHING)
        seen.append(await put(store, "a"))
        await store.delete_topic(TOPIC)
    assert [position.offset for position in seen] == [0] * 200
    epochs = [position.epoch for position in seen]
    assert epochs == sorted(set(epochs))


async def test_a_tombstone_outlives_its_epochs_seconds(starting: Starting) -> None:
    server = starting()
    store = store_on(server)
    for _ in range(20):
        await store.create_topic(TOPIC, NOTHING)
        epoch = (await log_of(server)).epoch
        await store.delete_topic(TOPIC)
    assert server.client.exists(KEYS.log, KEYS.once) == 0
    assert server.client.expiretime(KEYS.meta) >= epoch // LOW_BITS + TOMBSTONE_SECONDS
    await store.create_topic(TOPIC, NOTHING)
    assert server.client.ttl(KEYS.meta) == -1


async def test_publish_time_never_decreases(starting: Starting) -> None:
    server = starting()
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    before = await put_one(store, request("a"))
    server.client.hset(KEYS.meta, "time", before.time_ms + 60_000)
    assert (await put_one(store, request("b"))).time_ms == before.time_ms + 60_000
    assert (await store.read(TOPIC, None, max_entries=9, max_bytes=99)).entries[1].time_ms == before.time_ms + 60_000


async def test_a_restart_with_its_data_begins_an_epoch_and_loses_nothing(starting: Starting) -> None:
    server = starting("--appendonly", "yes", "--appendfsync", "always")
    store = store_on(server)
    await store.create_topic(TOPIC, Retention(max_messages=9))
    key = await put_one(store, keyed("k", "a"))
    before = await put(store, "b")
    empty = (await store.create_topic(TopicName("default/empty"), NOTHING)).log
    restart(server)
    after = await put(store, "c")
    assert after.offset == 2
    assert after.epoch > before.epoch
    log = await log_of(server)
    assert [(link.epoch, link.first) for link in log.chain] == [(before.epoch, 0), (after.epoch, 2)]
    verdict = await placed(store, before)
    assert (verdict.recovery, verdict.after) == (Recovery.COMPLETE, before)
    assert await texts_after(store, before) == ["c"]
    assert (await put_one(store, keyed("k", "a"))).first == key.first
    assert (await placed(store, empty.end, topic=TopicName("default/empty"))).recovery is Recovery.COMPLETE
    assert (await store.topic(TOPIC)).retention == Retention(max_messages=9)


async def test_a_restart_with_older_data_rolls_back(starting: Starting) -> None:
    """A snapshot that is some entries behind is a promoted replica that is some entries behind."""
    server = starting()
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    empty = (await store.create_topic(TopicName("default/empty"), NOTHING)).log
    shared = await put(store, "a", "b")
    server.client.save()
    ahead = await put(store, "c", "d")
    restart(server)
    assert (await put(store, "new")).offset == 2
    verdict = await placed(store, ahead)
    assert (verdict.recovery, verdict.missing) == (Recovery.ROLLED_BACK, (Range(ahead.epoch, 2, 3),))
    assert await texts_after(store, verdict.after) == ["new"]
    assert await store.find_time(TOPIC, 0) == Position(shared.epoch, -1)
    assert (await placed(store, empty.end, topic=TopicName("default/empty"))).recovery is Recovery.COMPLETE
    assert server.client.exists("hr:{default/empty}:log", "hr:{default/empty}:once") == 2


async def test_a_restart_without_data_is_no_silent_beginning(starting: Starting) -> None:
    server = starting()
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    before = await put(store, "a", "b")
    server.restart(keep_data=False)
    with pytest.raises(UnknownTopic):
        await put(store, "c")
    await store.create_topic(TOPIC, NOTHING)
    await put(store, "c", "d", "e")
    verdict = await placed(store, before)
    assert verdict.recovery is Recovery.LOST
    assert await texts_after(store, verdict.after) == ["c", "d", "e"]


@pytest.mark.parametrize("published_since", [0, 1, 9])
async def test_a_client_ahead_of_a_promoted_replica_is_told_what_was_rolled_back(
    starting: Starting, published_since: int
) -> None:
    """Also when nothing was published since the promotion: it must not be told `complete`."""
    primary, replica = with_replica(starting)
    await store_on(primary).create_topic(TOPIC, NOTHING)
    await put(store_on(primary), "a", "b", "c")
    primary.wait_for_replicas(1)
    promote(replica)
    ahead = await put(store_on(primary), "lost 3", "lost 4", "lost 5")
    store = store_on(replica)
    new = [f"new {number}" for number in range(published_since)]
    for text in new:
        await put(store, text)
    verdict = await placed(store, ahead)
    assert verdict.recovery is Recovery.ROLLED_BACK
    assert verdict.missing == (Range(ahead.epoch, 3, 5),)
    assert await texts_after(store, verdict.after) == new
    assert (await placed(store, Position(ahead.epoch, 2))).recovery is Recovery.COMPLETE
    await put(store, "later")
    assert await texts_after(store, verdict.after) == [*new, "later"]


async def test_a_read_begins_the_epoch_as_a_publish_does(starting: Starting) -> None:
    primary, replica = with_replica(starting)
    await store_on(primary).create_topic(TOPIC, NOTHING)
    last = await put(store_on(primary), "a")
    primary.wait_for_replicas(1)
    promote(replica)
    log = await log_of(replica)
    assert log.epoch > last.epoch
    assert log.end == Position(log.epoch, 0)
    assert await store_on(replica).ends([TOPIC]) == [log.end]
    assert (await placed(store_on(replica), log.end)).recovery is Recovery.COMPLETE
    assert (await put(store_on(replica), "b")) == Position(log.epoch, 1)


async def test_a_primarys_first_replica_begins_an_epoch_without_loss(starting: Starting) -> None:
    """The replication id changes then, too: a new epoch means "verify", not "lost"."""
    primary = starting()
    store = store_on(primary)
    await store.create_topic(TOPIC, NOTHING)
    before = await put(store, "a")
    starting(replica_of=primary)
    primary.wait_for_replicas(1)
    after = await put(store, "b")
    assert (after.epoch > before.epoch, after.offset) == (True, 1)
    assert (await placed(store, before)).recovery is Recovery.COMPLETE


async def test_the_first_batch_of_an_epoch_is_announced_with_the_place_before_it(starting: Starting) -> None:
    """So that a feed which stands there goes on without a look at the log, and any other one looks."""
    server = starting()
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    listener = server.client.pubsub()
    listener.ssubscribe(KEYS.live)
    assert listener.get_message(timeout=5)["type"] == "ssubscribe"
    first = await put(store, "a")
    server.client.hset(KEYS.meta, "replid", "e" * 40)
    second = await put(store, "b")
    server.client.hset(KEYS.meta, "replid", "f" * 40)
    begun_by_a_read = (await log_of(server)).end
    third = await put(store, "c")
    heard = [store.read_announcement(listener.get_message(timeout=5)["data"]) for _ in range(3)]
    assert [announcement.last for announcement in heard] == [first, second, third]
    assert [announcement.previous for announcement in heard[1:]] == [first, begun_by_a_read]
    assert first.epoch < second.epoch < begun_by_a_read.epoch == third.epoch


async def test_a_second_replica_that_never_saw_the_first_promotion(starting: Starting) -> None:
    primary = starting()
    first, second = starting(replica_of=primary), starting(replica_of=primary)
    primary.wait_for_replicas(2)
    await store_on(primary).create_topic(TOPIC, NOTHING)
    shared = await put(store_on(primary), "a", "b")
    primary.wait_for_replicas(2)
    promote(first)
    on_first = await put(store_on(first), "x2", "x3")
    first.kill()
    promote(second)
    store = store_on(second)
    await put(store, "y2", "y3", "y4")
    verdict = await placed(store, on_first)
    assert verdict.recovery is Recovery.LOST
    assert await texts_after(store, verdict.after) == ["a", "b", "y2", "y3", "y4"]
    assert await texts_after(store, (await placed(store, shared)).after) == ["y2", "y3", "y4"]


async def test_a_fork_left_by_a_stale_primary_hides_nothing(starting: Starting) -> None:
    """The fork's epoch may be the higher one: read on by ID order, and no new message would ever appear."""
    stale = starting("--appendonly", "yes", "--appendfsync", "always")
    promoted = starting(replica_of=stale)
    stale.wait_for_replicas(1)
    await store_on(stale).create_topic(TOPIC, NOTHING)
    shared = await put(store_on(stale), "a", "b")
    stale.wait_for_replicas(1)
    promote(promoted)
    await put(store_on(promoted), "c")
    restart(stale)
    stale.client.hset(KEYS.meta, "epoch", (await log_of(promoted)).epoch + 1000 * LOW_BITS)
    stale.client.hset(KEYS.meta, "replid", "f" * 40)
    on_fork = await put(store_on(stale), "fork 2", "fork 3")
    log = await log_of(promoted)
    assert on_fork.epoch > log.epoch
    assert is_unknown_future(on_fork, log)
    assert promoted.client.xrange(KEYS.log, min=f"({on_fork}") == []
    verdict = await placed(store_on(promoted), on_fork)
    assert verdict.recovery is Recovery.LOST
    assert await texts_after(store_on(promoted), verdict.after) == ["a", "b", "c"]
    verdict = await placed(store_on(stale), (await log_of(promoted)).end)
    assert verdict.recovery is Recovery.LOST
    assert await texts_after(store_on(promoted), shared) == ["c"]


async def test_what_was_rolled_back_is_published_again_at_a_new_position(starting: Starting) -> None:
    """Idempotency records go back with the log: a retry is neither lost nor answered with a position that is gone."""
    primary, replica = with_replica(starting)
    await store_on(primary).create_topic(TOPIC, NOTHING)
    await put_one(store_on(primary), keyed("kept", "a"))
    primary.wait_for_replicas(1)
    promote(replica)
    gone = await put_one(store_on(primary), keyed("gone", "b"))
    store = store_on(replica)
    again = await put_one(store, keyed("gone", "b"))
    assert not again.duplicate
    assert again.first.offset == gone.first.offset
    assert again.first.epoch > gone.first.epoch
    assert (await put_one(store, keyed("kept", "a"))).duplicate
    assert await texts_after(store, None) == ["a", "b"]


async def test_the_chain_keeps_what_is_in_the_log_and_sixty_four_more(starting: Starting) -> None:
    server = starting()
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    firsts: list[Position] = []
    for number in range(100):
        server.client.hset(KEYS.meta, "replid", f"{number:040x}")
        firsts.append(await put(store, f"{number}"))
    assert len((await log_of(server)).chain) == 101
    await store.trim(TOPIC, Retention(max_messages=10, max_bytes=10**9, max_age_ms=10**12))
    server.client.hset(KEYS.meta, "replid", "f" * 40)
    log = await log_of(server)
    assert len(log.chain) == 1 + 10 + 64
    assert (await placed(store, firsts[-1])).recovery is Recovery.COMPLETE
    assert (await placed(store, firsts[30])).recovery is Recovery.TRIMMED
    assert (await placed(store, firsts[0])).recovery is Recovery.LOST
    for _ in range(100):
        server.client.hset(KEYS.meta, "replid", "e" * 40)
        await log_of(server)
    log = await log_of(server)
    assert len(log.chain) == 1 + 10 + 64
    assert (await placed(store, firsts[95])).recovery is Recovery.COMPLETE
