"""What a subscriber connection asked for, and what its reads mean. Pure.

Redis confirms each channel of an SSUBSCRIBE and SUNSUBSCRIBE by name but refuses a command without naming it, so the
questions are kept in the order they were asked. It also ends subscriptions unasked: an unsolicited `sunsubscribe` is
all that tells of a failover or a migrated slot (docs of Redis say nothing of it, and a client that ignores it goes
silent for ever). Whatever does not fit the questions is reported as out of step: the connection is not to be trusted.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cluster.connection import ErrorReply
from cluster.slots import slot_of

MAX_CHANNELS = 256
"""Of one SSUBSCRIBE: keeps a command below some 100 KiB whatever the names."""


@dataclass(slots=True)
class Reading:
    """The meaning of all that one read brought."""

    messages: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Channel and payload, in order."""
    confirmed: list[bytes] = field(default_factory=list)
    repeated: list[bytes] = field(default_factory=list)
    """Confirmed although they were already: something in between has reconnected."""
    dropped: list[bytes] = field(default_factory=list)
    """Ended by the server, unasked."""
    refused: list[tuple[tuple[bytes, ...], ErrorReply]] = field(default_factory=list)
    """Channels of one SSUBSCRIBE, and why it failed."""
    is_out_of_step: bool = False


@dataclass(slots=True)
class _Question:
    word: bytes
    channels: deque[bytes]


class Subscriptions:
    """The questions and answers of one connection, from its handshake to its end."""

    def __init__(self) -> None:
        self._questions: deque[_Question] = deque()
        self._confirmed: set[bytes] = set()
        self._unanswered: Counter[bytes] = Counter()
        """Questions about a channel. Only the answer to the last one says how it stands."""

    def subscribe(self, channels: Iterable[bytes]) -> list[tuple[bytes, ...]]:
        """Return the commands that ask for `channels`: those of a slot together, at most `MAX_CHANNELS` in one."""
        by_slot: dict[int, list[bytes]] = {}
        for channel in channels:
            by_slot.setdefault(slot_of(channel), []).append(channel)
        return [
            self._ask(b"ssubscribe", names[start : start + MAX_CHANNELS])
            for names in by_slot.values()
            for start in range(0, len(names), MAX_CHANNELS)
        ]

    def unsubscribe(self, channel: bytes) -> tuple[bytes, ...]:
        return self._ask(b"sunsubscribe", [channel])

    def read(self, replies: Iterable[object]) -> Reading:
        """Hold what one read brought against the questions."""
        reading = Reading()
        for reply in replies:
            # Announcements first and without a `match`: this is the hot path of fan-out.
            if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"smessage":
                reading.messages.append((reply[1], reply[2]))
            else:
                self._read_answer(reply, reading)
        return reading

    def _read_answer(self, reply: object, reading: Reading) -> None:
        match reply:
            case [b"ssubscribe", bytes(channel), _]:
                self._take_confirmation(channel, reading)
            case [b"sunsubscribe", bytes(channel), _]:
                self._take_end(channel, reading)
            case ErrorReply():
                self._take_refusal(reply, reading)
            case [b"pong", _] | b"PONG":
                pass
            case _:
                reading.is_out_of_step = True

    def _ask(self, word: bytes, channels: Sequence[bytes]) -> tuple[bytes, ...]:
        self._questions.append(_Question(word, deque(channels)))
        self._unanswered.update(channels)
        return (word, *channels)

    def _answers(self, word: bytes, channel: bytes) -> bool:
        """Tell whether this is the answer that is due, and take it off the list."""
        if not self._questions:
            return False
        question = self._questions[0]
        if question.word != word or question.channels[0] != channel:
            return False
        question.channels.popleft()
        self._settle([channel])
        if not question.channels:
            self._questions.popleft()
        return True

    def _settle(self, channels: Iterable[bytes]) -> None:
        for channel in channels:
            self._unanswered[channel] -= 1
            if not self._unanswered[channel]:
                del self._unanswered[channel]

    def _take_confirmation(self, channel: bytes, reading: Reading) -> None:
        was_confirmed = channel in self._confirmed
        self._confirmed.add(channel)
        if was_confirmed:
            reading.repeated.append(channel)
        if not self._answers(b"ssubscribe", channel):
            reading.is_out_of_step = not was_confirmed
        elif not was_confirmed and channel not in self._unanswered:
            reading.confirmed.append(channel)

    def _take_end(self, channel: bytes, reading: Reading) -> None:
        self._confirmed.discard(channel)
        if not self._answers(b"sunsubscribe", channel):
            reading.dropped.append(channel)

    def _take_refusal(self, error: ErrorReply, reading: Reading) -> None:
        # Without a question it is the refusal of an end that the server had announced by itself just before.
        if self._questions:
            question = self._questions.popleft()
            self._settle(question.channels)
            if question.word == b"ssubscribe":
                reading.refused.append((tuple(question.channels), error))
