"""All topics that a client follows, over its connections: asking, asking again, and what the answers mean. Pure."""

from collections.abc import Iterable
from typing import Generic

from headrace.dialects import Dialect, Frame
from headrace.errors import AlreadySubscribed, HeadraceError, NotSubscribed, is_temporary
from headrace.events import Arrived, Ended, Event, F, P
from headrace.following import Following, Phase
from headrace.frames import read_missing, read_recovery, read_started, read_topic
from headrace.messages import Message
from headrace.outbox import DEFAULT_RETRY_S
from headrace.positions import Since, since_field
from headrace.requests import Requests, number_of


class Followings(Generic[P, F]):
    """`handle` is the caller's name of a subscription, opaque here."""

    def __init__(self, requests: Requests, dialect: Dialect) -> None:
        self._requests = requests
        self._dialect = dialect
        self._followed: dict[str, tuple[Following, F]] = {}
        self._asked: dict[int, str] = {}
        self._retrying: dict[str, Following] = {}

    @property
    def places(self) -> dict[str, Since]:
        """What is followed, and from where it would go on."""
        return {topic: following.resume for topic, (following, _) in self._followed.items()}

    @property
    def are_moving(self) -> bool:
        """Whether the connection that is being left is still listened to."""
        return any(following.overlaps for following, _ in self._followed.values())

    def move(self) -> None:
        """Another connection takes over: ask there for everything, and listen here until it is answered."""
        self._asked = {}
        for following, _ in self._followed.values():
            following.move()
        self.restart()

    def leave(self) -> None:
        """The connection that was being left is gone."""
        for following, _ in self._followed.values():
            following.overlaps = False

    def restart(self) -> None:
        """A connection begins: ask again for everything."""
        for following, _ in self._followed.values():
            self._ask(following)

    def drop(self) -> None:
        """The connection is gone: nothing that it still says counts."""
        self._asked = {}
        for following, _ in self._followed.values():
            following.drop()

    def follow(self, topic: str, since: Since, handle: F, *, snapshot: bool = False) -> None:
        """Raises `AlreadySubscribed`."""
        if topic in self._followed:
            raise AlreadySubscribed
        following = Following(topic, since, snapshot)
        self._followed[topic] = following, handle
        self._ask(following)

    def unfollow(self, topic: str) -> None:
        """Raises `NotSubscribed`."""
        if self._followed.pop(topic, None) is None:
            raise NotSubscribed
        self._retrying.pop(topic, None)
        self._requests.send({"op": "unsubscribe", "topic": topic})

    def park(self, topic: str) -> None:
        """Have the node stop sending; the place is kept for `unpark`."""
        following, _ = self._followed[topic]
        if following.phase is not Phase.PARKED:
            following.phase, following.overlaps = Phase.PARKED, False
            self._retrying.pop(topic, None)
            self._requests.send({"op": "unsubscribe", "topic": topic})

    def unpark(self, topic: str) -> None:
        following, _ = self._followed[topic]
        if following.phase is Phase.PARKED:
            following.phase = Phase.IDLE
            self._ask(following)

    def _ask(self, following: Following) -> None:
        if not self._requests.connected or following.phase is not Phase.IDLE:
            return
        number = self._requests.number()
        following.ask(number)
        self._retrying.pop(following.topic, None)
        self._asked[number] = following.topic
        frame: Frame = {"op": "subscribe", "topic": following.topic, "since": since_field(following.resume)}
        if following.snapshot:
            frame["snapshot"] = True
        self._requests.send(frame, number=number)

    def receive_message(self, message: Message, events: list[Event[P, F]], *, leaving: bool = False) -> None:
        followed = self._followed.get(message.topic)
        if followed and followed[0].receive_message(message, leaving=leaving):
            events.append(Arrived(followed[1], message, message.position))

    def receive_subscribed(self, frame: Frame, events: list[Event[P, F]]) -> None:
        number = number_of(frame)
        following, handle = self._followed.get(self._asked.pop(number, ""), (None, None))
        if following is None or handle is None or following.request != number or following.phase is not Phase.ASKED:
            return
        started = read_started(frame, self._dialect)
        if following.has_outrun(started):
            self._ask_anew(following)
            return
        gap = following.receive_subscribed(started, read_missing(frame))
        events.append(Arrived(handle, started, following.resume))
        if gap:
            events.append(Arrived(handle, gap, following.resume))

    def _ask_anew(self, following: Following) -> None:
        """The place is in another stretch of history by now: the answer to the earlier one is of no use."""
        self._requests.send({"op": "unsubscribe", "topic": following.topic})
        following.drop()
        self._ask(following)

    def receive_gap(self, frame: Frame, events: list[Event[P, F]], *, leaving: bool = False) -> None:
        followed = self._followed.get(read_topic(frame))
        if followed is None:
            return
        following, handle = followed
        gap = following.receive_gap(read_recovery(frame), read_missing(frame), leaving=leaving)
        if gap:
            events.append(Arrived(handle, gap, following.resume))

    def receive_refusal(self, number: int, error: HeadraceError, now: float, events: list[Event[P, F]]) -> bool:
        """Tell whether the refusal was that of a subscribe of ours."""
        topic = self._asked.pop(number, None)
        if topic is None:
            return False
        following = self._followed[topic][0] if topic in self._followed else None
        if following is None or following.request != number:
            return True
        if not is_temporary(error):
            self.end(topic, error, events)
        elif following.phase is Phase.ASKED:
            self._retrying[topic] = following
            following.wait(now + (DEFAULT_RETRY_S if error.retry_ms is None else error.retry_ms / 1000))
        return True

    def end(self, topic: str, error: HeadraceError, events: list[Event[P, F]]) -> None:
        followed = self._followed.pop(topic, None)
        self._retrying.pop(topic, None)
        if followed:
            events.append(Ended(followed[1], error))

    def fail(self, error: HeadraceError, events: list[Event[P, F]]) -> None:
        for topic in list(self._followed):
            self.end(topic, error, events)

    def poll(self, now: float) -> None:
        """Ask again where the time has come."""
        for following in list(self._retrying.values()):
            if following.retry_at is not None and following.retry_at <= now:
                self._ask(following)

    def dues(self) -> Iterable[float | None]:
        """Return when to ask again, in monotonic seconds."""
        return [following.retry_at for following in self._retrying.values()]
