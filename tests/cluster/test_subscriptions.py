"""What reads of a subscriber connection mean, answer by answer."""

import pytest

from cluster.connection import ErrorReply
from cluster.slots import slot_of
from cluster.subscriptions import MAX_CHANNELS, Subscriptions

A, B, C = b"{x}a", b"{x}b", b"{y}c"


def on(channel: bytes) -> list[object]:
    return [b"ssubscribe", channel, 1]


def off(channel: bytes) -> list[object]:
    return [b"sunsubscribe", channel, 0]


def said(channel: bytes, payload: bytes) -> list[object]:
    return [b"smessage", channel, payload]


MOVED = ErrorReply("MOVED 1 h:1")


def test_channels_of_a_slot_are_asked_for_together() -> None:
    commands = Subscriptions().subscribe([A, C, B])
    assert commands == [(b"ssubscribe", A, B), (b"ssubscribe", C)]


def test_a_command_is_bounded() -> None:
    channels = [b"{x}%d" % number for number in range(MAX_CHANNELS + 1)]
    commands = Subscriptions().subscribe(channels)
    assert [len(command) - 1 for command in commands] == [MAX_CHANNELS, 1]
    assert len({slot_of(channel) for channel in channels}) == 1


def test_confirmations_and_messages_in_order() -> None:
    subscriptions = Subscriptions()
    subscriptions.subscribe([A, B])
    reading = subscriptions.read([on(A), said(A, b"1"), on(B), said(B, b"2"), said(A, b"3")])
    assert reading.confirmed == [A, B]
    assert reading.messages == [(A, b"1"), (B, b"2"), (A, b"3")]
    assert not (reading.dropped or reading.refused or reading.repeated or reading.is_out_of_step)


def test_an_unasked_end_is_a_drop_and_an_asked_one_is_none() -> None:
    subscriptions = Subscriptions()
    subscriptions.subscribe([A, B])
    subscriptions.read([on(A), on(B)])
    assert subscriptions.read([off(A)]).dropped == [A]
    subscriptions.unsubscribe(B)
    assert subscriptions.read([off(B)]).dropped == []


def test_a_dropped_channel_is_confirmed_anew() -> None:
    subscriptions = Subscriptions()
    subscriptions.subscribe([A])
    subscriptions.read([on(A), off(A)])
    subscriptions.subscribe([A])
    reading = subscriptions.read([on(A)])
    assert (reading.confirmed, reading.repeated) == ([A], [])


def test_a_refusal_names_the_channels_of_its_command() -> None:
    subscriptions = Subscriptions()
    subscriptions.subscribe([A, B])
    subscriptions.subscribe([C])
    reading = subscriptions.read([MOVED, on(C)])
    assert reading.refused == [((A, B), MOVED)]
    assert reading.confirmed == [C]
    assert not reading.is_out_of_step


def test_a_refused_end_is_nobodys_business() -> None:
    subscriptions = Subscriptions()
    subscriptions.unsubscribe(A)
    reading = subscriptions.read([MOVED])
    assert (reading.refused, reading.is_out_of_step) == ([], False)


def test_a_refusal_without_a_question_is_ignored() -> None:
    """The server ended it unasked while our own request to end it was on its way: two answers to one question."""
    subscriptions = Subscriptions()
    subscriptions.subscribe([A])
    subscriptions.read([on(A)])
    subscriptions.unsubscribe(A)
    reading = subscriptions.read([off(A), MOVED])
    assert not reading.is_out_of_step


def test_a_misattributed_refusal_ends_out_of_step() -> None:
    """The same with another question behind it: the refusal hits the wrong one, and its confirmation betrays that."""
    subscriptions = Subscriptions()
    subscriptions.subscribe([A])
    subscriptions.read([on(A)])
    subscriptions.unsubscribe(A)
    subscriptions.subscribe([C])
    assert subscriptions.read([off(A), MOVED]).refused == [((C,), MOVED)]
    assert subscriptions.read([on(C)]).is_out_of_step


def test_only_the_last_of_several_answers_counts() -> None:
    """Followed, left and followed again in one breath: between the two confirmations it is not subscribed."""
    subscriptions = Subscriptions()
    subscriptions.subscribe([A])
    subscriptions.unsubscribe(A)
    subscriptions.subscribe([A])
    assert subscriptions.read([on(A)]).confirmed == []
    assert subscriptions.read([off(A)]).dropped == []
    assert subscriptions.read([on(A)]).confirmed == [A]


def test_a_repeated_confirmation_is_told() -> None:
    subscriptions = Subscriptions()
    subscriptions.subscribe([A])
    subscriptions.read([on(A)])
    reading = subscriptions.read([on(A)])
    assert (reading.repeated, reading.is_out_of_step) == ([A], False)


@pytest.mark.parametrize("reply", [on(A), [b"message", A, b"x"], 1, None, [], b"+OK"])
def test_what_nobody_asked_for_is_out_of_step(reply: object) -> None:
    assert Subscriptions().read([reply]).is_out_of_step


@pytest.mark.parametrize("reply", [[b"pong", b""], b"PONG"])
def test_pongs_are_ignored(reply: object) -> None:
    reading = Subscriptions().read([reply])
    assert not reading.is_out_of_step


def test_nothing_is_remembered_of_settled_questions() -> None:
    subscriptions = Subscriptions()
    subscriptions.subscribe([A, B])
    subscriptions.read([on(A), on(B)])
    subscriptions.subscribe([C])
    subscriptions.read([MOVED])
    subscriptions.unsubscribe(A)
    subscriptions.unsubscribe(B)
    subscriptions.read([off(A), off(B)])
    assert not subscriptions._questions
    assert not subscriptions._unanswered
    assert not subscriptions._confirmed
