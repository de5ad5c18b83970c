"""The asyncio client against a scripted node."""

import asyncio

import pytest

import headrace
from headrace import Client, Gap, Position, Range, Recovery


async def first(subscription: headrace.Subscription, count: int) -> list[str]:
    texts: list[str] = []
    async with asyncio.timeout(10):
        async for message in subscription:
            texts.append(message.text)
            if len(texts) == count:
                break
    return texts


async def test_what_is_published_arrives_with_its_position(node) -> None:
    async with Client(node.url) as client, client.subscribe("default/lines") as subscription:
        published = await client.publish("default/lines", text="hello", attributes={"a": "b"})
        message = await anext(aiter(subscription))
        assert message.text == "hello"
        assert message.attributes == {"a": "b"}
        assert message.position == published.position == subscription.position


async def test_each_payload_keeps_its_kind(node) -> None:
    async with Client(node.url) as client, client.subscribe("default/lines") as subscription:
        await client.publish("default/lines", json={"a": [1, None, "ü"]})
        await client.publish("default/lines", data=b"\x00\xff")
        await client.publish("default/lines", json=None)
        events = subscription.events()
        kinds = [(message.kind, message.data) for message in [await anext(events) for _ in range(3)]]
        assert kinds == [("json", '{"a":[1,null,"ü"]}'.encode()), ("binary", b"\x00\xff"), ("json", b"null")]


async def test_the_json_dialect_carries_the_same(node) -> None:
    async with Client(node.url, dialect="json") as client, client.subscribe("default/lines") as subscription:
        await client.publish("default/lines", text="grüße")
        assert await first(subscription, 1) == ["grüße"]


async def test_a_subscription_outlives_its_connections_without_loss_or_repeat(node, until) -> None:
    async with Client(node.url) as client, client.subscribe("default/lines") as subscription:
        node.append("default/lines", "0")
        assert await first(subscription, 1) == ["0"]
        node.cut()
        node.append("default/lines", "1")
        await until(lambda: node.topic("default/lines").followers)
        node.append("default/lines", "2")
        assert await first(subscription, 2) == ["1", "2"]
        assert node.ops("subscribe")[-1]["since"] == {"epoch": 1000, "offset": 0}


async def test_since_words_count_only_once(node, until) -> None:
    for number in range(5):
        node.append("default/lines", str(number))
    async with Client(node.url) as client, client.subscribe("default/lines", since={"last": 2}) as subscription:
        assert await first(subscription, 2) == ["3", "4"]
        node.cut()
        await until(lambda: len(node.ops("subscribe")) == 2)
        assert node.ops("subscribe")[1]["since"] == {"epoch": 1000, "offset": 4}


async def test_unanswered_publishes_are_sent_again_with_the_same_identity(node, until) -> None:
    async with Client(node.url) as client:
        await client.connected()
        node.mute = True
        futures = [client.publish_nowait("default/lines", text=str(number)) for number in range(100)]
        await until(lambda: len(node.ops("publish")) == 100)
        node.mute = False
        node.cut()
        results = await asyncio.gather(*futures)
        assert [result.offset for result in results] == list(range(100))
        again = node.ops("publish")
        assert again[:100] == again[100:]


async def test_a_publish_whose_answer_was_lost_is_stored_once(node, until) -> None:
    def store_and_cut(frame: dict[str, object]) -> None:
        if frame["op"] == "publish" and not node.topic("default/lines").entries:
            node.topic("default/lines").identities[frame["publisher"], frame["seq"]] = node.append("default/lines", "x")
            node.cut()

    node.answer = store_and_cut
    async with Client(node.url) as client:
        published = await client.publish("default/lines", text="x")
    assert published.duplicate
    assert node.texts("default/lines") == ["x"]


async def test_a_refused_publish_raises_its_error_and_a_busy_log_is_tried_again(node) -> None:
    answers = iter(["unavailable", "forbidden"])

    def refuse(frame: dict[str, object]) -> dict[str, object] | None:
        if frame["op"] != "publish":
            return None
        code = next(answers)
        hint = {"retry_ms": 1} if code == "unavailable" else {}
        return {"op": "error", "id": frame["id"], "code": code, "reason": "no", **hint}

    node.answer = refuse
    async with Client(node.url) as client:
        with pytest.raises(headrace.Forbidden, match="no"):
            await client.publish("default/lines", text="x")


async def test_gaps_are_told_in_order(node) -> None:
    gaps: list[Gap] = []
    async with (
        Client(node.url) as client,
        client.subscribe("default/lines", on_gap=gaps.append) as subscription,
    ):
        missing = [{"epoch": 1000, "first": 0, "last": 4}]
        node.say({"op": "gap", "topic": "default/lines", "recovery": "trimmed", "missing": missing})
        message = {"op": "message", "topic": "default/lines", "epoch": 1000, "offset": 5, "time": 1}
        node.say(message | {"kind": "text", "data": b"5"})
        assert await first(subscription, 1) == ["5"]
        assert gaps == [Gap("default/lines", Recovery.TRIMMED, (Range(1000, 0, 4),))]


async def test_events_iterates_gaps_and_messages_and_the_place_follows(node) -> None:
    async with Client(node.url) as client, client.subscribe("default/lines") as subscription:
        assert subscription.position == Position(1000, -1)
        missing = [{"epoch": 1000, "first": 0, "last": 4}]
        node.say({"op": "gap", "topic": "default/lines", "recovery": "trimmed", "missing": missing})
        assert isinstance(await anext(subscription.events()), Gap)
        assert subscription.position == Position(1000, 4)


async def test_a_deleted_topic_ends_the_subscription(node) -> None:
    async with Client(node.url) as client, client.subscribe("default/lines") as subscription:
        node.append("default/lines", "last")
        node.say({"op": "error", "code": "unknown_topic", "reason": "gone", "topic": "default/lines"})
        assert await first(subscription, 1) == ["last"]
        with pytest.raises(headrace.UnknownTopic, match="gone"):
            await first(subscription, 1)
        await client.subscribe("default/lines").started()


async def test_a_refused_subscription_raises(node) -> None:
    node.answer = lambda frame: (
        {"op": "error", "id": frame["id"], "code": "forbidden", "reason": "no"} if frame["op"] == "subscribe" else None
    )
    async with Client(node.url) as client:
        with pytest.raises(headrace.Forbidden):
            async with client.subscribe("default/lines"):
                pass


async def test_a_topic_is_followed_once_a_client(node) -> None:
    async with Client(node.url) as client, client.subscribe("default/lines") as subscription:
        with pytest.raises(headrace.AlreadySubscribed):
            client.subscribe("default/lines")
        await subscription.close()
        assert [message async for message in subscription] == []
        async with client.subscribe("default/lines"):
            pass


async def test_the_next_server_is_tried_at_once(node, second_node, until) -> None:
    async with Client([node.url, second_node.url]) as client:
        await client.connected()
        here, there = (node, second_node) if node.connections() else (second_node, node)
        await here.stop()
        await until(there.connections)
        assert (await client.publish("default/lines", text="x")).offset == 0


async def test_a_node_that_restarts_gets_its_clients_back(node, until) -> None:
    async with Client(node.url) as client:
        await client.connected()
        await node.stop()
        publish = asyncio.ensure_future(client.publish("default/lines", text="x"))
        await node.start()
        assert (await publish).offset == 0


async def test_a_silent_node_is_left(node, until) -> None:
    async with Client(node.url, schedule=headrace.Schedule(half_open_s=0.2)) as client:
        await client.connected()
        node.mute = True
        await until(lambda: len(node.headers) >= 2)
        assert node.ops("ping")


async def test_the_token_goes_into_the_header_and_nowhere_else(node) -> None:
    async with Client(node.url, token="s3cret") as client:
        await client.connected()
        assert node.headers[0]["Authorization"] == "Bearer s3cret"
        assert "s3cret" not in repr(client)
        assert "s3cret" not in str(node.received)


async def test_a_refused_token_ends_the_client(node) -> None:
    node.refuse_status = 401
    async with Client(node.url, token="wrong") as client:
        with pytest.raises(headrace.Unauthorized):
            await client.publish("default/lines", text="x")
        with pytest.raises(headrace.Unauthorized):
            client.subscribe("default/lines")


async def test_an_expired_token_is_replaced_where_a_function_makes_them(node, until) -> None:
    tokens = iter(["first", "second"])

    async def fresh() -> str:
        return next(tokens)

    async with Client(node.url, token=fresh) as client:
        await client.connected()
        await node.close(4501, "expired")
        await until(lambda: len(node.headers) == 2)
        assert [headers["Authorization"] for headers in node.headers] == ["Bearer first", "Bearer second"]
        await client.publish("default/lines", text="x")


async def test_a_final_close_code_ends_the_client(node) -> None:
    async with Client(node.url) as client:
        await client.connected()
        subscription = client.subscribe("default/lines")
        await subscription.started()
        await node.close(4503, "too many bytes")
        with pytest.raises(headrace.Refused, match="4503"):
            await first(subscription, 1)


async def test_a_frame_that_makes_no_sense_costs_the_connection_not_the_client(node, until) -> None:
    async with Client(node.url) as client:
        await client.connected()
        node.say({"op": "gap", "topic": 7})
        node.say({"op": "subscribed", "id": 99})
        await until(lambda: len(node.headers) == 2)
        await client.publish("default/lines", text="x")


async def test_closing_waits_for_answers_and_fails_what_has_none(node) -> None:
    client = await Client(node.url).open()
    answered = client.publish_nowait("default/lines", text="x")
    await client.close()
    assert answered.result().offset == 0
    with pytest.raises(headrace.ClientClosed):
        await client.publish("default/lines", text="x")
    await client.close()


async def test_nothing_listening_is_said_in_time() -> None:
    async with Client("http://127.0.0.1:9") as client:
        with pytest.raises(headrace.ConnectionFailed):
            await client.connected(timeout=0.2)


async def test_an_unopened_client_says_how_to_open_it() -> None:
    with pytest.raises(headrace.ClientClosed, match="async with"):
        await Client("http://127.0.0.1:9").publish("default/lines", text="x")


@pytest.mark.parametrize("given", [{}, {"text": "a", "data": b"b"}, {"json": float("nan")}, {"json": object()}])
async def test_a_payload_is_one_thing(node, given) -> None:
    async with Client(node.url) as client:
        with pytest.raises(headrace.InvalidMessage):
            await client.publish("default/lines", **given)


async def test_a_frame_above_the_nodes_limit_is_not_sent(node) -> None:
    async with Client(node.url) as client:
        await client.connected()
        with pytest.raises(headrace.TooLarge):
            await client.publish("default/lines", data=bytes(2_300_000))


async def test_the_state_is_told(node, until) -> None:
    states: list[headrace.State] = []
    async with Client(node.url, on_state=states.append) as client:
        await client.connected()
        node.cut()
        await until(lambda: len(states) >= 3)
        assert [state.connected for state in states[:3]] == [True, False, True]
        assert states[0].node == "scripted"


async def test_a_snapshot_is_asked_for_and_told_with_each_placement(node, until) -> None:
    placed: list[headrace.Started] = []
    newest = {"epoch": 1000, "offset": 0, "time": 1, "kind": "text", "data": b"newest"}
    send = node._send
    node._send = lambda connection, frame: send(
        connection, frame | ({"snapshot": newest} if frame["op"] == "subscribed" else {})
    )
    async with Client(node.url) as client:
        published = await client.publish("default/lines", text="newest", retained=True)
        subscription = client.subscribe(
            "default/lines", since=published.position, snapshot=True, on_started=placed.append
        )
        assert (await subscription.started()).snapshot.text == "newest"
        await until(lambda: node.topic("default/lines").followers)
        node.cut()
        await until(lambda: len(node.ops("subscribe")) == 2)
        await client.publish("default/lines", text="next")
        assert await first(subscription, 1) == ["next"]
        assert [started.snapshot.text for started in placed] == ["newest", "newest"]
    assert node.ops("publish")[0]["retained"] is True
    assert all(ask["snapshot"] is True for ask in node.ops("subscribe"))
