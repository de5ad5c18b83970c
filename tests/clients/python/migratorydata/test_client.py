"""The full client on real nodes: snapshots, history, statuses, failover, pause and resume."""

import uuid
from collections.abc import Iterator

import httpx
import pytest
from nodes import Node

from headrace.migratorydata.client import MigratoryDataClient, MigratoryDataException, MigratoryDataMessage
from headrace.migratorydata.constants import MessageType

V6 = (
    "connect",
    "disconnect",
    "set_listener",
    "get_listener",
    "set_log_listener",
    "set_entitlement_token",
    "set_servers",
    "subscribe",
    "subscribe_with_history",
    "unsubscribe",
    "publish",
    "set_encryption",
    "get_subjects",
    "pause",
    "resume",
    "notify_after_failed_connection_attempts",
    "set_quick_reconnect_max_retries",
    "set_quick_reconnect_initial_delay",
    "set_reconnect_policy",
    "set_reconnect_time_interval",
    "set_reconnect_max_delay",
    "set_transport",
)
"""contracts/migratorydata 1.2: version 6 of Python, complete."""


@pytest.fixture
def client(addresses, listener) -> Iterator[MigratoryDataClient]:  # type: ignore[no-untyped-def]
    client = MigratoryDataClient()
    client.set_listener(listener)
    client.set_entitlement_token("some-token")
    client.set_servers(addresses)
    yield client
    client.disconnect()


@pytest.fixture
def other(addresses) -> Iterator[MigratoryDataClient]:  # type: ignore[no-untyped-def]
    """Publishes."""
    other = MigratoryDataClient()
    other.set_entitlement_token("some-token")
    other.set_servers(addresses)
    other.connect()
    yield other
    other.disconnect()


def a_subject() -> str:
    return f"/default/{uuid.uuid4().hex}"


def topic(subject: str) -> str:
    return "/v1/projects/default/topics/" + subject.rpartition("/")[2]


def publish(node: Node, subject: str, *texts: str) -> None:
    """Over another face."""
    with httpx.Client(base_url=node.url, headers=node.headers) as http:
        http.put(topic(subject))
        for text in texts:
            body = {"messages": [{"data": text}]}
            assert http.post(f"{topic(subject)}:publish", json=body).status_code == 200


@pytest.mark.parametrize("name", V6)
def test_every_method_is_there_in_both_spellings(name: str) -> None:
    first, *others = name.split("_")
    assert callable(getattr(MigratoryDataClient, name))
    assert getattr(MigratoryDataClient, first + "".join(map(str.capitalize, others)))


def test_messages_come_with_their_statuses(client, other, listener) -> None:  # type: ignore[no-untyped-def]
    subject = a_subject()
    client.subscribe([subject])
    assert client.get_subjects() == [subject]
    client.connect()
    listener.wait_for("NOTIFY_SERVER_UP")
    listener.wait_for("NOTIFY_SUBSCRIBE_ALLOW", subject)
    client.publish(MigratoryDataMessage(subject, "one", "closure-1", fields=[("bid", "3")]))
    listener.wait_for("NOTIFY_PUBLISH_OK", "closure-1")
    other.publish(MigratoryDataMessage(subject, "two"))
    listener.wait(lambda: len(listener.messages) == 2)
    assert listener.contents == ["one", "two"]
    assert listener.kinds == [MessageType.UPDATE] * 2
    assert listener.messages[0].get_fields() == [("bid", "3")]
    assert [message.get_seq() for message in listener.messages] == [0, 1]
    client.unsubscribe([subject])
    assert client.get_subjects() == []
    client.publish(MigratoryDataMessage(subject, "x" * 1_600_000, "too-big"))
    listener.wait_for("NOTIFY_MESSAGE_SIZE_LIMIT_EXCEEDED", "too-big")


def test_the_snapshot_comes_first_and_history_where_it_is_asked_for(client, pair, listener) -> None:  # type: ignore[no-untyped-def]
    subject, past = a_subject(), a_subject()
    client.connect()
    listener.wait_for("NOTIFY_SERVER_UP")
    for text in ("1", "2"):
        client.publish(MigratoryDataMessage(subject, text, text))
        listener.wait_for("NOTIFY_PUBLISH_OK", text)
    publish(pair[1], past, "YQ==", "Yg==", "Yw==")
    client.subscribe([subject])
    listener.wait(lambda: listener.messages)
    client.subscribe_with_history([past], 2)
    listener.wait(lambda: len(listener.messages) == 3)
    publish(pair[0], past, "ZA==")
    listener.wait(lambda: len(listener.messages) == 4)
    assert listener.contents == ["2", "b", "c", "d"]
    assert listener.kinds == [
        MessageType.SNAPSHOT,
        MessageType.HISTORICAL,
        MessageType.HISTORICAL,
        MessageType.UPDATE,
    ]


def test_after_a_pause_what_was_missed_is_recovered(client, pair, listener) -> None:  # type: ignore[no-untyped-def]
    subject = a_subject()
    publish(pair[0], subject, "YQ==")
    client.subscribe([subject])
    client.connect()
    listener.wait_for("NOTIFY_SUBSCRIBE_ALLOW", subject)
    publish(pair[0], subject, "Yg==")
    listener.wait(lambda: listener.contents == ["b"])
    client.pause()
    client.pause()
    with pytest.raises(MigratoryDataException) as away:
        client.publish(MigratoryDataMessage(subject, "x"))
    assert away.value.code == MigratoryDataException.E_NOT_CONNECTED
    publish(pair[1], subject, "Yw==", "ZA==")
    client.resume()
    listener.wait_for("NOTIFY_DATA_SYNC", subject)
    publish(pair[1], subject, "ZQ==")
    listener.wait(lambda: len(listener.messages) == 4)
    assert listener.contents == ["b", "c", "d", "e"]
    assert listener.kinds[1:] == [MessageType.RECOVERED, MessageType.RECOVERED, MessageType.UPDATE]


def test_a_killed_node_costs_nothing(client, other, pair, addresses, listener) -> None:  # type: ignore[no-untyped-def]
    subject = a_subject()
    client.set_servers([f"100 {addresses[0]}", f"0 {addresses[1]}"])
    client.subscribe([subject])
    client.connect()
    listener.wait_for("NOTIFY_SUBSCRIBE_ALLOW", subject)
    sent = [str(number) for number in range(200)]
    for number, text in enumerate(sent):
        other.publish(MigratoryDataMessage(subject, text))
        if number == 100:
            pair[0].kill()
    try:
        listener.wait(lambda: len(listener.messages) >= len(sent))
        listener.wait_for("NOTIFY_DATA_SYNC", subject)
    finally:
        pair[0].restart()
    assert listener.contents == sent


def test_a_request_is_answered_on_its_reply_subject(client, other, listener) -> None:  # type: ignore[no-untyped-def]
    subject, reply = a_subject(), a_subject()
    client.connect()
    client.publish(MigratoryDataMessage(subject, "ask", "asked", reply_subject=reply))
    listener.wait_for("NOTIFY_PUBLISH_OK", "asked")
    listener.wait_for("NOTIFY_SUBSCRIBE_ALLOW", reply)
    other.publish(MigratoryDataMessage(reply, "answer"))
    listener.wait(lambda: listener.contents == ["answer"])
    assert client.get_subjects() == [reply]


def test_servers_that_are_away_are_told(listener) -> None:  # type: ignore[no-untyped-def]
    client = MigratoryDataClient()
    client.set_listener(listener)
    client.set_servers(["127.0.0.1:1"])
    client.set_quick_reconnect_initial_delay(0.01)
    client.set_quick_reconnect_max_retries(1000)
    client.notify_when_reconnect_rate_exceeds_threshold(3)
    client.connect()
    try:
        listener.wait_for("NOTIFY_SERVER_DOWN", "http://127.0.0.1:1")
        listener.wait_for("NOTIFY_RECONNECT_RATE_EXCEEDED")
    finally:
        client.disconnect()


def test_a_token_that_is_not_entitled_is_told(client, listener) -> None:  # type: ignore[no-untyped-def]
    client.set_entitlement_token("another-token")
    client.connect()
    listener.wait_for("NOTIFY_TOKEN_INVALID")


def test_calls_out_of_order_are_exceptions(client) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MigratoryDataException) as early:
        client.publish(MigratoryDataMessage("/a/b", "x"))
    assert early.value.code == MigratoryDataException.E_NOT_CONNECTED
    client.connect()
    with pytest.raises(MigratoryDataException) as again:
        client.connect()
    assert again.value.code == MigratoryDataException.E_RUNNING
    for wrong in (["/a"], "/a/b"):
        with pytest.raises(MigratoryDataException) as refused:
            client.subscribe(wrong)
        assert refused.value.code == MigratoryDataException.E_INVALID_SUBJECT
    assert client.get_subjects() == []
    with pytest.raises(ValueError, match="policy"):
        client.set_reconnect_policy("NEVER")
    with pytest.raises(ValueError, match="transport"):
        client.set_transport("PIGEON")
    client.disconnect()
    client.set_transport(client.TRANSPORT_HTTP)
    client.connect()
