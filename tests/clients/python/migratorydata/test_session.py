"""What a session makes of tokens, absent topics and refusals, on a real node that takes JWTs."""

import json
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import jwt
import nodes
import pytest
import servers
from nodes import Node

from headrace.migratorydata import session
from headrace.migratorydata.client import MigratoryDataClient, MigratoryDataException, MigratoryDataMessage
from headrace.migratorydata.constants import MessageType

KEY = "k" * 32
MINE, OTHERS = "/default/mine", "/default/others"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    env = {"HEADRACE_AUTH_KEYS": json.dumps([{"kid": "k", "algorithm": "HS256", "secret": KEY}])}
    with servers.valkey() as server, nodes.on(server, count=1, env=env) as (running,):
        with httpx.Client(base_url=running.url, headers=running.headers) as http:
            for subject in (MINE, OTHERS):
                http.put(topic(subject)).raise_for_status()
        yield running


def topic(subject: str) -> str:
    return "/v1/projects/default/topics/" + subject.rpartition("/")[2]


def token(*subjects: str, lives_s: float = 3600) -> str:
    claims = {"sub": "ann", "exp": int(time.time() + lives_s), "permissions": {"all": list(subjects)}}
    return jwt.encode(claims, KEY, headers={"kid": "k"})


@pytest.fixture
def client(node: Node, listener) -> Iterator[MigratoryDataClient]:  # type: ignore[no-untyped-def]
    client = MigratoryDataClient()
    client.set_listener(listener)
    client.set_servers([f"127.0.0.1:{node.port}"])
    yield client
    client.disconnect()


def about(listener, *subjects: str) -> list[tuple[str, str]]:  # type: ignore[no-untyped-def]
    return [told for told in listener.statuses if told[1] in subjects]


def test_a_token_with_more_rights_brings_what_was_denied(client, listener) -> None:  # type: ignore[no-untyped-def]
    client.set_entitlement_token(token(MINE))
    client.subscribe([MINE, OTHERS])
    client.connect()
    listener.wait_for("NOTIFY_SUBSCRIBE_ALLOW", MINE)
    listener.wait_for("NOTIFY_SUBSCRIBE_DENY", OTHERS)
    client.subscribe([OTHERS])
    listener.wait(lambda: listener.statuses.count(("NOTIFY_SUBSCRIBE_DENY", OTHERS)) == 2)
    client.set_entitlement_token(token("/default/*"))
    listener.wait_for("NOTIFY_SUBSCRIBE_ALLOW", OTHERS)
    client.publish(MigratoryDataMessage(OTHERS, "x", "closure"))
    listener.wait_for("NOTIFY_PUBLISH_OK", "closure")
    listener.wait(lambda: listener.contents == ["x"])
    assert listener.statuses.count(("NOTIFY_TOKEN_UPDATED", "NOTIFY_TOKEN_UPDATED")) == 1
    assert about(listener, MINE) == [("NOTIFY_SUBSCRIBE_ALLOW", MINE)]


def test_a_token_runs_out_unless_it_is_renewed(client, listener, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(session, "RENEW_BEFORE_S", 3598.0)
    client.set_entitlement_token(token("/default/*"))
    client.subscribe([MINE])
    client.connect()
    listener.wait_for("NOTIFY_TOKEN_TO_EXPIRE")
    client.set_entitlement_token(token("/default/*", lives_s=7200))
    listener.wait_for("NOTIFY_TOKEN_UPDATED")
    client.set_entitlement_token(token("/default/*", lives_s=2))
    listener.wait_for("NOTIFY_TOKEN_EXPIRED")
    words = [status for status, _ in listener.statuses if "TOKEN" in status]
    assert [words[0], words[1], words[-1]] == [
        "NOTIFY_TOKEN_TO_EXPIRE",
        "NOTIFY_TOKEN_UPDATED",
        "NOTIFY_TOKEN_EXPIRED",
    ]
    assert sorted(words[2:-1]) == ["NOTIFY_TOKEN_TO_EXPIRE", "NOTIFY_TOKEN_UPDATED"], "of the last one"


def test_after_a_refused_token_another_one_connects_again(client, listener) -> None:  # type: ignore[no-untyped-def]
    client.set_entitlement_token("another-token")
    client.subscribe([MINE])
    client.connect()
    listener.wait_for("NOTIFY_TOKEN_INVALID")
    client.set_entitlement_token(token("/default/*"))
    listener.wait_for("NOTIFY_SUBSCRIBE_ALLOW", MINE)
    assert [status for status, _ in listener.statuses if "TOKEN" in status] == ["NOTIFY_TOKEN_INVALID"]
    with pytest.raises(MigratoryDataException) as refused:
        client.set_entitlement_token("two words")
    assert refused.value.code == MigratoryDataException.E_ENTITLEMENT_TOKEN
    client.disconnect()
    client.set_entitlement_token("two words")
    with pytest.raises(MigratoryDataException) as refused:
        client.connect()
    assert refused.value.code == MigratoryDataException.E_ENTITLEMENT_TOKEN


def test_without_a_token_a_subscription_is_denied(client, listener) -> None:  # type: ignore[no-untyped-def]
    client.subscribe([MINE, "/default/*"])
    client.connect()
    listener.wait_for("NOTIFY_SUBSCRIBE_DENY", MINE)
    listener.wait_for("NOTIFY_SUBSCRIBE_DENY", "/default/*")


def test_what_is_published_before_the_first_message_of_a_pause_is_recovered(  # type: ignore[no-untyped-def]
    client, node: Node, listener
) -> None:
    client.set_entitlement_token(token("/default/*"))
    client.subscribe([OTHERS])
    client.connect()
    listener.wait_for("NOTIFY_SUBSCRIBE_ALLOW", OTHERS)
    client.pause()
    body = {"messages": [{"data": "YQ=="}]}
    httpx.post(f"{node.url}{topic(OTHERS)}:publish", headers=node.headers, json=body).raise_for_status()
    client.resume()
    listener.wait_for("NOTIFY_DATA_SYNC", OTHERS)
    # As recovered, or as live where the node's feed had not come that far when it placed us.
    listener.wait(lambda: listener.contents[-1:] == ["a"] and listener.kinds[-1] is not MessageType.SNAPSHOT)


def test_a_subject_that_is_no_topic_yet_is_followed_from_its_first_message(  # type: ignore[no-untyped-def]
    client, node: Node, listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ABSENT_S", 0.05)
    name = f"p{uuid.uuid4().hex}"
    subject, path = f"/{name}/lines", f"/v1/projects/{name}"
    client.set_entitlement_token(token(f"/{name}/*"))
    client.subscribe([subject])
    client.connect()
    listener.wait_for("NOTIFY_SERVER_UP")
    with httpx.Client(base_url=node.url, headers=node.headers) as http:
        http.post(path, json={}).raise_for_status()
        http.put(f"{path}/topics/lines").raise_for_status()
        http.post(f"{path}/topics/lines:publish", json={"messages": [{"data": "YQ=="}]}).raise_for_status()
        listener.wait(lambda: listener.contents == ["a"])
    assert about(listener, subject)[0] == ("NOTIFY_SUBSCRIBE_ALLOW", subject)


def test_the_application_may_call_the_client_wherever_it_is_told(client) -> None:  # type: ignore[no-untyped-def]
    told: list[str] = []

    class Calls:
        def on_status(self, status: str, info: str) -> None:
            if status == "NOTIFY_SUBSCRIBE_ALLOW" and not told:
                client.publish(MigratoryDataMessage(MINE, "pause"))

        def on_message(self, message: MigratoryDataMessage) -> None:
            if message.get_message_type() is MessageType.SNAPSHOT:
                return
            told.append(str(message.get_content()))
            calls: dict[str, Callable[[], None]] = {"pause": self.pause, "leave": self.leave, "again": self.again}
            calls.get(told[-1], lambda: None)()

        def pause(self) -> None:
            client.pause()
            client.resume()
            client.publish(MigratoryDataMessage(MINE, "leave"))

        def leave(self) -> None:
            client.unsubscribe([MINE])
            client.subscribe_with_history([MINE], 1)
            client.publish(MigratoryDataMessage(MINE, "again"))

        def again(self) -> None:
            if told.count("again") == 1:
                client.disconnect()
                client.connect()
                client.publish(MigratoryDataMessage(MINE, "end"))

    client.set_listener(Calls())
    client.set_entitlement_token(token("/default/*"))
    client.subscribe([MINE])
    client.connect()
    deadline = time.monotonic() + 30
    while "end" not in told:
        assert time.monotonic() < deadline, told
        time.sleep(0.01)
