"""An application of ARGO's against a real node over TLS, with `argo-ams-library` and with `headrace.ams`."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import argo_ams_library
import nodes
import pytest
from ams_scenarios import SCENARIOS, Ground
from nodes import Node
from servers import free_port

import headrace.ams
from gateway.authority import Authority

PROJECT = "argo"
PATIENCE_SECONDS = 30.0
TOKENS_PORT = free_port()
"""Where the node gives tokens for client certificates."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@contextmanager
def tls_node(authority: Authority, **given: Any) -> Iterator[Node]:
    pair = authority.issue("node")
    options = ("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key))
    with nodes.node(options=options, ca=str(authority.files.certificate), **given) as running:
        yield running


@pytest.fixture(scope="module")
def node(authority: Authority) -> Iterator[Node]:
    bindings = authority.directory / "bindings.toml"
    bindings.write_text('"CN=a-machine" = "machine"\n')
    env = {
        "HEADRACE_X509_PORT": str(TOKENS_PORT),
        "HEADRACE_X509_AUTHORITIES": str(authority.files.certificate),
        "HEADRACE_X509_BINDINGS": str(bindings),
    }
    with tls_node(authority, env=env) as running:
        ams = headrace.ams.ArgoMessagingService(running.url, token=running.token)
        ams.create_project(PROJECT, "of the tests", verify=str(authority.files.certificate))
        yield running


@pytest.fixture(autouse=True)
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both libraries read it, and it is all that the original needs."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.files.certificate))


@pytest.fixture(params=[argo_ams_library, headrace.ams], ids=lambda library: library.__name__)
def ground(request: pytest.FixtureRequest, node: Node) -> Ground:
    return Ground(request.param, f"localhost:{node.port}", node.token, PROJECT)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario: Callable[[Ground], None], ground: Ground) -> None:
    scenario(ground)


def test_a_certificate_stands_for_its_users_token(ground: Ground, authority: Authority) -> None:
    library = ground.library
    with suppress(library.AmsServiceException):
        ground.ams.create_user(library.AmsUser(name="machine"))

    def come(name: str) -> Any:
        pair = authority.issue(name)
        return library.ArgoMessagingService(
            endpoint="localhost",
            project=PROJECT,
            cert=str(pair.certificate),
            key=str(pair.key),
            authn_port=TOKENS_PORT,
        )

    assert come("a-machine").token == ground.ams.get_user("machine").token
    with pytest.raises(library.AmsServiceException) as stranger:
        come("a-stranger")
    assert stranger.value.code == 404


def subscription(ground: Ground, *, messages: int, ackdeadline: int = 10, **given: Any) -> Any:
    """Return a new subscription to a new topic with so many messages: "0", "1" ..."""
    ams = ground.ams
    topic = ams.topic(ground.name("t"))
    sub = ams.create_sub(ground.name("s"), topic.name, ackdeadline=ackdeadline, retobj=True, **given)
    topic.publish([ground.library.AmsMessage(data=str(number)) for number in range(messages)])
    return sub


def texts(pulled: list[tuple[str, Any]]) -> list[bytes]:
    return [message.get_data() for _, message in pulled]


CONSUMER = """
import sys, time
from importlib import import_module
library, endpoint, token, project, name = sys.argv[1:]
ams = import_module(library).ArgoMessagingService(endpoint=endpoint, token=token, project=project)
print(len(ams.pull_sub(name, 10, return_immediately=True)), flush=True)
time.sleep(600)
"""


@contextmanager
def consumer_that_never_acks(ground: Ground, name: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has pulled what there is and holds it."""
    command = [sys.executable, "-c", CONSUMER, ground.library.__name__, ground.endpoint, ground.token, ground.project]
    with subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_consumer_killed_between_pull_and_ack_loses_nothing(ground: Ground) -> None:
    sub = subscription(ground, messages=3)
    with consumer_that_never_acks(ground, sub.name) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "3\n"
        child.kill()
        child.wait(PATIENCE_SECONDS)
    pulled = sub.pull(10, return_immediately=True)
    assert texts(pulled) == [b"0", b"1", b"2"]
    sub.ack([ack for ack, _ in pulled])
    assert sub.pull(10, return_immediately=True) == []


def test_an_ack_after_its_deadline_is_a_timeout_and_the_messages_come_again(ground: Ground) -> None:
    sub = subscription(ground, messages=2, ackdeadline=1)
    ids = [ack for ack, _ in sub.pull(2, return_immediately=True)]
    # More whole seconds than the deadline, by Redis' clock: there is none to pass in.
    time.sleep(2.1)
    with pytest.raises(ground.library.AmsTimeoutException) as late:
        sub.ack(ids)
    assert (late.value.code, late.value.status) == (408, "TIMEOUT")
    assert texts(sub.pull(2, return_immediately=True)) == [b"0", b"1"]
    assert len(sub.pullack(2, return_immediately=True)) == 2


def test_a_pull_that_waits_ends_with_the_first_message(ground: Ground) -> None:
    sub = subscription(ground, messages=0)
    late = threading.Timer(0.3, lambda: sub.topic.publish(ground.library.AmsMessage(data="late")))
    late.start()
    pulls = 0
    found: list[bytes] = []
    while not found:
        found, pulls = texts(sub.pull(10)), pulls + 1
        assert pulls < 10, "a pull that waits comes back empty"
    assert found == [b"late"]
    late.join()


def test_an_ack_that_comes_twice_is_fine_and_one_beyond_the_pull_is_not(ground: Ground) -> None:
    sub = subscription(ground, messages=3)
    ((first, _),) = sub.pull(1, return_immediately=True)
    assert sub.ack([first]) is True
    assert sub.ack([first]) is True
    with pytest.raises(ground.library.AmsServiceException) as beyond:
        sub.ack([first.rpartition(":")[0] + ":2"])
    assert beyond.value.code == 400


def test_a_deleted_topic_leaves_a_subscription_that_says_so(ground: Ground) -> None:
    sub = subscription(ground, messages=1)
    sub.topic.delete()
    try:
        sub.pull(1, return_immediately=True)
    except ground.library.AmsServiceException as gone:
        assert gone.code == 409
    except ground.bare:
        pass
    else:
        pytest.fail("a pull without a topic came to an answer")
    sub.delete()


@pytest.fixture(params=[argo_ams_library, headrace.ams], ids=lambda library: library.__name__)
def frail(request: pytest.FixtureRequest, authority: Authority) -> Iterator[tuple[Node, Ground]]:
    """A node of its own, to be hurt, and the ground on it."""
    with tls_node(authority, env={"HEADRACE_LIMITS_APPEND_SECONDS": "1"}) as running:
        yield running, Ground(request.param, f"localhost:{running.port}", running.token, "default")


def test_a_node_that_comes_back_is_found_by_a_retry(frail: tuple[Node, Ground]) -> None:
    node, ground = frail
    sub = subscription(ground, messages=2)
    node.kill()
    with pytest.raises(ground.library.AmsConnectionException):
        sub.topic.publish(ground.library.AmsMessage(data="2"))
    starting = threading.Timer(0.5, node.restart)
    starting.start()
    try:
        sent = ground.ams.publish(
            sub.topic.name, ground.library.AmsMessage(data="2"), retry=60, retrysleep=0.5, timeout=5
        )
    finally:
        starting.join()
    assert len(sent["messageIds"]) == 1
    assert texts(sub.pull(10, return_immediately=True)) == [b"0", b"1", b"2"]


def test_a_node_whose_redis_hangs_says_so_until_it_is_back(frail: tuple[Node, Ground]) -> None:
    node, ground = frail
    library = ground.library
    sub = subscription(ground, messages=1)
    engine = node.engine_pid()
    assert engine is not None
    os.kill(engine, signal.SIGSTOP)
    waking = threading.Timer(3.0, os.kill, (engine, signal.SIGCONT))
    try:
        with pytest.raises((library.AmsBalancerException, library.AmsTimeoutException)) as refused:
            sub.topic.publish(library.AmsMessage(data="1"))
        assert refused.value.code in (503, 504)
        waking.start()
        assert ground.ams.publish(sub.topic.name, {"data": "Mg=="}, retry=60, retrysleep=0.5)["messageIds"]
    finally:
        waking.cancel()
        with suppress(ProcessLookupError):
            os.kill(engine, signal.SIGCONT)
    assert texts(sub.pull(10, return_immediately=True))[-1] == b"2"


# What only our own client has.


@pytest.fixture
def ours(node: Node) -> Ground:
    return Ground(headrace.ams, node.url, node.token, PROJECT)


def test_a_list_of_servers_finds_the_one_that_lives(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
    ams = headrace.ams.ArgoMessagingService([dead, node.url], token=node.token, project=PROJECT)
    name = f"list-{time.monotonic_ns()}"
    ams.create_topic(name)
    assert ams.publish(name, {"data": "eA=="}) == {"messageIds": ["0"]}


def test_a_publish_that_is_sent_twice_is_stored_once(ours: Ground) -> None:
    sub = subscription(ours, messages=0)
    first = sub.topic.publish({"data": "eA=="}, key="the-same")
    assert sub.topic.publish({"data": "eA=="}, key="the-same") == first
    assert sub.offsets("max") == 1
    with pytest.raises(headrace.ams.AmsServiceException) as other:
        sub.topic.publish({"data": "eQ=="}, key="the-same")
    assert other.value.code == 409


def test_consumers_of_a_shared_subscription_compete(ours: Ground) -> None:
    sub = subscription(ours, messages=4, ackdeadline=60, shared=headrace.ams.SharedPolicy())
    assert sub.kind == "shared"
    one, other = sub.pull(2, return_immediately=True), sub.pull(2, return_immediately=True)
    assert texts(one) + texts(other) == [b"0", b"1", b"2", b"3"]
    assert sub.pull(2, return_immediately=True) == []

    assert sub.extend([other[0][0]], 600) is True
    assert sub.nack([one[1][0]]) is True
    again = sub.pull(2)
    assert texts(again) == [b"1"]
    with pytest.raises(headrace.ams.AmsTimeoutException) as stale:
        sub.ack([one[0][0], one[1][0]])
    assert set(stale.value.refused) == {one[1][0]}
    assert sub.ack([again[0][0], other[0][0], other[1][0]]) is True
    assert sub.pull(2, return_immediately=True) == []


def test_what_a_killed_consumer_held_is_delivered_again(ours: Ground) -> None:
    sub = subscription(ours, messages=3, ackdeadline=1, shared=headrace.ams.SharedPolicy())
    with consumer_that_never_acks(ours, sub.name) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "3\n"
        child.kill()
        child.wait(PATIENCE_SECONDS)
    assert sorted(message.get_data() for message in drain(sub, 3)) == [b"0", b"1", b"2"]


def test_a_message_that_is_always_given_back_ends_with_the_dead_letters(ours: Ground) -> None:
    ams = ours.ams
    letters = ams.topic(ours.name("dead"))
    read = letters.subscription(ours.name("s"))
    policy = headrace.ams.SharedPolicy(max_attempts=2, dead_letter_topic=letters.name)
    sub = subscription(ours, messages=1, shared=policy)
    for _ in range(2):
        ((ack, message),) = sub.pull(1)
        assert message.get_data() == b"0"
        sub.nack([ack])
    assert sub.pull(1, return_immediately=True) == []
    (letter,) = drain(read, 1)
    assert letter.get_data() == b"0"
    assert letter.get_attr()["dead_letter_attempts"] == "2"


def drain(sub: Any, count: int) -> list[Any]:
    """Pull and acknowledge until `count` messages have come."""
    found: list[Any] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} messages came"
        found += sub.pullack(count)
    return found
