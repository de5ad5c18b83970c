"""Keys and channels: one slot a topic, whatever its name, and the way back from a channel."""

import pytest
import servers
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidName
from broker.names import ProjectName, SubscriptionName, TopicName, parse_topic
from broker.store.keys import MAX_ONCE_ID_BYTES, Keys, encoded, once_id

KEYS = Keys()


def test_a_topics_keys() -> None:
    keys = KEYS.topic(TopicName("p/a/b"))
    assert (keys.log, keys.meta, keys.once) == (b"hr:{p/a/b}:log", b"hr:{p/a/b}:meta", b"hr:{p/a/b}:once")
    assert keys.live == b"hr:{p/a/b}:live"
    assert KEYS.projects() == b"hr:{projects}"
    assert KEYS.topics(ProjectName("p")) == b"hr:{p}:topics"
    assert Keys("x:y").topic(TopicName("p/a")).log == b"x:y:{p/a}:log"


def test_a_subscriptions_keys_share_its_topics_slot() -> None:
    keys = KEYS.subscription(TopicName("p/a/b"), SubscriptionName("p/s:ü"))
    assert keys.all == (
        b"hr:{p/a/b}:log",
        b"hr:{p/a/b}:meta",
        b"hr:{p/a/b}:sub:s%3A%C3%BC",
        b"hr:{p/a/b}:due:s%3A%C3%BC",
        b"hr:{p/a/b}:leases:s%3A%C3%BC",
    )
    assert keys.group == b"s%3A%C3%BC"
    assert KEYS.subscriptions(ProjectName("p")) == b"hr:{p}:subscriptions"


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("azAZ09._~/-", "azAZ09._~/-"),
        ("a b:c", "a%20b%3Ac"),
        ("é%", "%C3%A9%25"),
        ("}{", "%7D%7B"),
        ("%7D", "%257D"),
    ],
)
def test_names_are_encoded_before_they_enter_a_tag(name: str, tag: str) -> None:
    assert encoded(name) == tag


@pytest.mark.parametrize("prefix", ["a{b", "a}b", "a b", "a/b", "é", "a%b"])
def test_a_prefix_that_would_move_the_tag_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Keys(prefix)


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_all_keys_of_a_topic_share_its_slot_and_its_channel_leads_back(project: str, local: str) -> None:
    try:
        topic = parse_topic(f"{project}/{local}")
    except InvalidName:
        return
    keys = KEYS.topic(topic)
    slots = {servers.slot_of(key) for key in (keys.log, keys.meta, keys.once, keys.live)}
    assert slots == {servers.slot_of(encoded(topic).encode())}
    assert KEYS.topic_of_channel(keys.live) == topic


@pytest.mark.parametrize("channel", [b"", b"hr:{p/t}:log", b"x:{p/t}:live", b"hr:{p/t:live", b"hr:{node/n}:inbox"])
def test_other_channels_are_no_topics(channel: bytes) -> None:
    with pytest.raises(ValueError, match="not a live channel"):
        KEYS.topic_of_channel(channel)


def test_a_probe_has_key_and_channel_in_one_slot_and_numbers_spread() -> None:
    key, channel = KEYS.probe("node-1", 0)
    assert key == b"hr:{node/node-1/0}:probe"
    assert servers.slot_of(key) == servers.slot_of(channel)
    assert len({servers.slot_of(KEYS.probe("node-1", number)[0]) for number in range(100)}) > 90
    assert KEYS.probe("node-2", 0) != KEYS.probe("node-1", 0)
    with pytest.raises(ValueError, match="not a live channel"):
        KEYS.topic_of_channel(channel)


def test_what_one_script_touches_of_the_cluster_shares_a_slot() -> None:
    topic = parse_topic("p/t")
    leases, gone = KEYS.nodes()
    connections, claims = KEYS.connections("n.1")
    assert (leases, gone) == (b"hr:{nodes}", b"hr:{nodes}:gone")
    assert (connections, claims) == (b"hr:{node/n.1}:connections", b"hr:{node/n.1}:claims")
    assert KEYS.news() == b"hr:{nodes}:news"
    assert KEYS.inbox("n.1") == b"hr:{node/n.1}:inbox"
    assert KEYS.duty("a/b}c") == b"hr:{duty/a/b%7Dc}"
    assert KEYS.topic_duty(topic, "push/s") == b"hr:{p/t}:duty:push/s"
    assert servers.slot_of(KEYS.topic_duty(topic, "push/s")) == servers.slot_of(KEYS.topic(topic).log)


scopes = st.text(alphabet="ab01:#\0", max_size=6)


@given(scopes, scopes, scopes, scopes)
def test_ids_of_different_scopes_or_keys_never_meet(scope: str, name: str, other_scope: str, other_name: str) -> None:
    same = (scope, name) == (other_scope, other_name)
    assert (once_id(scope, name) == once_id(other_scope, other_name)) is same


def test_long_ids_are_shortened_and_stay_different() -> None:
    longest = MAX_ONCE_ID_BYTES - len(b"2:me")
    assert once_id("me", "k" * longest) == b"2:me" + b"k" * longest
    assert len(once_id("me", "k" * (longest + 1))) == 33
    assert once_id("me", "k" * 500) != once_id("me", "k" * 501)
    assert once_id("me", "\ud800") == b"2:me\xed\xa0\x80"


@pytest.mark.parametrize("client", [b"player", b"a}b", b"\xff\x00", b""])
def test_a_channels_keys_share_a_slot_whatever_its_client_is_called(client: bytes) -> None:
    queue, state = KEYS.channel(client)
    assert queue != state
    assert servers.slot_of(queue) == servers.slot_of(state)
    assert KEYS.channel(client) != KEYS.channel(client + b"x")
    assert KEYS.channels_due(3) == b"hr:{channels/3}:due"
