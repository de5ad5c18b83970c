"""One subscription's deliveries to a real receiver that takes them, fails, hangs, redirects and recovers."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from http_node import eventually
from receiver import Received, answering, hanging, hanging_up, receiving

from broker.errors import Unavailable, UnknownSubscription
from broker.names import parse_subscription, parse_topic
from broker.store.subscriptions import CursorAck, SubscriptionKind, SubscriptionSettings
from gateway.push.worker import ACK_ATTEMPTS, AWAY_SECONDS, Worker
from gateway.pushes import PushType

NAME = parse_subscription("p/s")
SHARED = SubscriptionSettings(kind=SubscriptionKind.SHARED)


class Lost(Exception):
    pass


class Held:
    ours = True

    def check(self) -> None:
        if not self.ours:
            raise Lost


@contextlib.asynccontextmanager
async def working(pushed: Any, held: Held | None = None, **changed: object) -> AsyncIterator["asyncio.Task[None]"]:
    config = await pushed.configure(**changed)
    task = asyncio.create_task(Worker(pushed.services, NAME, config, held or Held()).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def status(pushed: Any) -> str:
    found: str = await pushed.node.pushes.status(NAME)
    return found


async def until_committed(pushed: Any, offset: int) -> None:
    async with asyncio.timeout(10):
        while await pushed.offset() < offset:
            await asyncio.sleep(0.005)


async def test_messages_are_delivered_one_by_one_in_order_and_acked(pushed: Any) -> None:
    await pushed.subscribe()
    await pushed.node.say("p/t", "a", "b", "c")
    async with working(pushed):
        await until_committed(pushed, 2)
        assert pushed.ids() == ["0", "1", "2"]
        assert pushed.receiver.received[0].headers["authorization"] == "secret-of-the-endpoint"
        await pushed.node.say("p/t", "d")
        await until_committed(pushed, 3)
        assert pushed.ids() == ["0", "1", "2", "3"]
    assert pushed.sleeps.waits[:4] == [0, 3, 3, 3]
    assert await status(pushed) == "Subscription /projects/p/subscriptions/s is currently active"


async def test_a_batch_is_one_delivery(pushed: Any) -> None:
    await pushed.subscribe()
    await pushed.node.say("p/t", *map(str, range(25)))
    async with working(pushed, max_messages=10):
        await until_committed(pushed, 24)
    assert [len(received.json["messages"]) for received in pushed.receiver.received] == [10, 10, 5]


@pytest.mark.parametrize("code", [200, 201, 204])
async def test_what_counts_as_a_yes(pushed: Any, code: int) -> None:
    await pushed.subscribe()
    pushed.receiver.answer = answering(code)
    await pushed.node.say("p/t", "a")
    async with working(pushed):
        await until_committed(pushed, 0)


@pytest.mark.parametrize("code", [202, 301, 302, 307, 400, 404, 429, 500, 503])
async def test_anything_else_is_sent_again_until_it_is_taken(pushed: Any, code: int) -> None:
    await pushed.subscribe()
    async with receiving() as elsewhere:
        pushed.receiver.answer = answering(code, b"", f"location: http://127.0.0.1:{elsewhere.port}/")
        await pushed.node.say("p/t", "a", "b")
        async with working(pushed):
            await eventually(lambda: len(pushed.receiver.received) >= 3)
            assert set(pushed.ids()) == {"0"}
            assert await pushed.offset() == -1
            assert await status(pushed) == f"NOW - Could not send message, the endpoint answered {code}"
            pushed.receiver.answer = answering(200)
            await until_committed(pushed, 1)
            assert await status(pushed) == "Subscription /projects/p/subscriptions/s is currently active"
        assert pushed.ids()[-2:] == ["0", "1"]
        assert elsewhere.connections == 0
    ids = {received.headers["headrace-event-id"] for received in pushed.receiver.received[:3]}
    assert len(ids) == 1


async def test_an_endpoint_that_hangs_is_given_up_within_the_ack_deadline(pushed: Any) -> None:
    await pushed.subscribe(SubscriptionSettings(ack_deadline_s=1))
    pushed.receiver.answer = hanging
    await pushed.node.say("p/t", "a")
    async with working(pushed):
        await eventually(lambda: len(pushed.receiver.received) >= 2)
        assert await status(pushed) == "NOW - Could not send message, There was no answer within 1 seconds."
        pushed.receiver.answer = answering(200)
        await until_committed(pushed, 0)


async def test_an_endpoint_that_hangs_up_or_is_away_is_tried_again(pushed: Any) -> None:
    await pushed.subscribe()
    pushed.receiver.answer = hanging_up
    await pushed.node.say("p/t", "a")
    async with working(pushed):
        await eventually(lambda: len(pushed.receiver.received) >= 3)
        assert (await status(pushed)).startswith("NOW - Could not send message, ")
        pushed.receiver.answer = answering(200)
        await until_committed(pushed, 0)


async def test_an_address_that_is_not_allowed_gets_nothing(pushed: Any) -> None:
    await pushed.subscribe()
    await pushed.node.say("p/t", "a")
    async with working(pushed, endpoint="http://169.254.169.254/latest/meta-data"):
        await eventually(lambda: len(pushed.sleeps.waits) > 3)
        assert "an address that may not be reached" in await status(pushed)
    assert pushed.receiver.connections == 0


async def test_one_delivery_is_in_flight_at_a_time(pushed: Any) -> None:
    await pushed.subscribe()
    open_now = most = 0

    async def slow(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        await answering(200)(request, writer)

    pushed.receiver.answer = slow
    await pushed.node.say("p/t", *map(str, range(10)))
    async with working(pushed):
        await until_committed(pushed, 9)
    assert most == 1


async def test_mattermost_takes_one_message_a_post_and_only_200(pushed: Any) -> None:
    await pushed.subscribe()
    pushed.receiver.answer = answering(201)
    await pushed.node.say("p/t", "a", "b")
    url = f"http://127.0.0.1:{pushed.receiver.port}/hook"
    async with working(
        pushed, type=PushType.MATTERMOST, endpoint="", mattermost_url=url, max_messages=5, base64_decode=True
    ):
        await eventually(lambda: len(pushed.receiver.received) >= 2)
        assert await pushed.offset() == -1
        pushed.receiver.answer = answering(200)
        await until_committed(pushed, 1)
    assert [received.json["text"] for received in pushed.receiver.received][-2:] == ["a", "b"]


async def test_a_shared_subscription_is_pushed_by_leases(pushed: Any) -> None:
    await pushed.subscribe(SHARED)
    await pushed.node.say("p/t", "a", "b", "c")
    other = await pushed.node.subscriptions.pull(NAME, max_messages=1)
    async with working(pushed, max_messages=10):
        await eventually(lambda: len(pushed.ids()) == 2)
        assert pushed.ids() == ["1", "2"]
        await pushed.node.subscriptions.nack(NAME, [other.deliveries[0].ack])
        await eventually(lambda: len(pushed.ids()) == 3)
        assert pushed.ids() == ["1", "2", "0"]
        async with asyncio.timeout(10):
            while (await pushed.node.subscriptions.get(NAME)).pending:
                await asyncio.sleep(0.005)


async def test_leases_of_a_failed_delivery_are_given_back(pushed: Any) -> None:
    await pushed.subscribe(SHARED)
    pushed.receiver.answer = answering(500)
    await pushed.node.say("p/t", "a")
    async with working(pushed):
        # Far sooner than the ack deadline.
        await eventually(lambda: len(pushed.receiver.received) >= 3)
    assert pushed.ids()[:3] == ["0", "0", "0"]


async def test_who_may_have_lost_the_duty_sends_nothing(pushed: Any) -> None:
    await pushed.subscribe()
    held = Held()
    held.ours = False
    await pushed.node.say("p/t", "a")
    async with working(pushed, held) as task:
        await asyncio.wait([task], timeout=10)
        assert isinstance(task.exception(), Lost)
    assert pushed.receiver.connections == 0


async def test_it_ends_with_its_subscription(pushed: Any) -> None:
    await pushed.subscribe()
    async with working(pushed) as task:
        await pushed.node.say("p/t", "a")
        await until_committed(pushed, 0)
        await pushed.node.subscriptions.delete(NAME)
        await asyncio.wait([task], timeout=10)
        assert isinstance(task.exception(), UnknownSubscription)


async def test_a_subscription_made_again_is_another(pushed: Any) -> None:
    await pushed.subscribe()
    config = await pushed.configure(created_ms=1)
    with pytest.raises(UnknownSubscription):
        await asyncio.wait_for(Worker(pushed.services, NAME, config, Held()).run(), 10)


async def test_a_deleted_topic_may_come_back(pushed: Any) -> None:
    await pushed.subscribe()
    async with working(pushed) as task:
        await pushed.node.catalog.delete_topic(parse_topic("p/t"))
        await eventually(lambda: pushed.sleeps.waits.count(AWAY_SECONDS) >= 2 or task.done())
        await pushed.node.catalog.create_topic(parse_topic("p/t"))
        await pushed.node.say("p/t", "again")
        await eventually(pushed.ids)


async def test_an_ack_that_redis_does_not_take_is_repeated(pushed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await pushed.subscribe()
    acknowledge = pushed.node.subscriptions.acknowledge
    failures = iter([True] * (ACK_ATTEMPTS - 1))

    async def flaky(*args: Any) -> Any:
        if next(failures, False):
            raise Unavailable
        return await acknowledge(*args)

    monkeypatch.setattr(pushed.node.subscriptions, "acknowledge", flaky)
    await pushed.node.say("p/t", "a")
    async with working(pushed):
        await until_committed(pushed, 0)
    assert pushed.ids() == ["0"]


async def test_an_ack_that_comes_too_late_is_a_failure(pushed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await pushed.subscribe()

    async def late(*_: Any) -> CursorAck:
        return CursorAck.TIMEOUT

    monkeypatch.setattr(pushed.node.subscriptions, "acknowledge", late)
    await pushed.node.say("p/t", "a")
    async with working(pushed):
        await eventually(lambda: len(pushed.ids()) >= 2)
        assert "the acknowledgement was refused" in await status(pushed)


async def test_no_secret_is_logged(pushed: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await pushed.subscribe()
    pushed.receiver.answer = answering(500)
    await pushed.node.say("p/t", "a")
    async with working(pushed, endpoint=f"http://127.0.0.1:{pushed.receiver.port}/in?key=query-secret"):
        await eventually(lambda: len(pushed.receiver.received) >= 2)
    ours = [record for record in caplog.records if record.name.startswith("gateway")]
    assert ours
    assert not [record for record in caplog.records if "secret" in str(vars(record))]
