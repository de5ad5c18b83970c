"""One stretch of being connected: a Headrace client in its thread, and what comes of it told to the listener."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from headrace import blocking
from headrace.credentials import expiry_of
from headrace.errors import ConnectionFailed, HeadraceError, TooLarge, Unauthorized, UnknownProject, UnknownTopic
from headrace.failover import Schedule, Server
from headrace.messages import Started
from headrace.migratorydata.attempts import Attempts
from headrace.migratorydata.constants import Constants
from headrace.migratorydata.following import Following, Place, Told
from headrace.migratorydata.listener import MAX_TOLD, Telling
from headrace.migratorydata.messages import MigratoryDataMessage, received, sent
from headrace.migratorydata.publisher import PUBLISH_TIMEOUT_S, STATUS
from headrace.migratorydata.subjects import topic_of
from headrace.outcomes import outcome_of

MAX_PUBLISHING = 20_000
"""Publishes without an answer; beyond them a publish fails at once."""

RENEW_BEFORE_S = 60.0
"""How long before its token expires the application is told."""

ABSENT_S = 5.0
"""How often a subject is asked for again that is no topic yet."""

ENDING_S = PUBLISH_TIMEOUT_S + 1.0
"""For the answers to publishes at the end: their own time, and how exact that is."""

CONNECTING_S = 3600.0
"""Of one wait for a connection; another follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a session is opened with."""

    servers: list[Server]
    token: Callable[[], str]
    tls: ssl.SSLContext | None
    schedule: Schedule | None
    attempts_before_down: int
    attempts_in_window: int


class Session:
    """Follows `places` (by subject) and publishes until it is closed."""

    def __init__(self, terms: Terms, telling: Telling, places: dict[str, Place]) -> None:
        self._terms = terms
        self._telling = telling
        self._places = places
        self._attempts = Attempts(telling, before_down=terms.attempts_before_down, in_window=terms.attempts_in_window)
        self._publishing: set[asyncio.Task[None]] = set()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._denied: set[str] = set()
        self._renewal: asyncio.Task[None] | None = None
        self._native = blocking.Client(
            terms.servers,
            token=terms.token,
            name="migratorydata",
            tls=terms.tls,
            schedule=terms.schedule,
            on_state=self._attempts.on_state,
        ).open()
        self._client = self._native.inner
        self._native.run(self._begin())

    # In the application's threads.

    @property
    def is_over(self) -> bool:
        """Whether the servers have ended it for good, by refusing the token perhaps."""
        return self._client.error is not None

    def subscribe(self, subjects: Iterable[str]) -> None:
        self._native.run(self._follow_all(list(subjects)))

    def unsubscribe(self, subjects: Iterable[str]) -> None:
        self._native.run(self._leave_all(list(subjects)))

    def publish(self, message: MigratoryDataMessage) -> None:
        """Publish in the background; its status is told where the message has a closure."""
        self._loop.call_soon_threadsafe(self._start_publishing, message)

    def show_token(self) -> None:
        self._native.run(self._show_token())

    def close(self) -> None:
        """Wait for the answers to publishes, then end. The places stay as they are."""
        try:
            self._native.run(self._end())
        finally:
            self._native.close()

    # In the client's thread.

    async def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(MAX_TOLD)
        self._token_watch = self._loop.create_task(self._watch_token())
        await self._follow_all(list(self._places))

    async def _end(self) -> None:
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=ENDING_S)
        ending = [self._token_watch, *self._followers.values(), *self._publishing]
        if self._renewal is not None:
            ending.append(self._renewal)
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)

    async def _connected(self) -> None:
        """Wait for as long as it takes; raises what ended the client."""
        while True:
            try:
                await self._client.connected(timeout=CONNECTING_S)
                return
            except ConnectionFailed:
                continue

    # Following.

    async def _follow_all(self, subjects: list[str]) -> None:
        for subject in subjects:
            follower = self._followers.get(subject)
            if follower is None or follower.done():
                self._denied.discard(subject)
                work = self._follow(subject, self._places[subject])
                self._followers[subject] = self._loop.create_task(work)

    async def _leave_all(self, subjects: list[str]) -> None:
        leaving = [self._followers.pop(subject) for subject in subjects if subject in self._followers]
        self._denied.difference_update(subjects)
        for task in leaving:
            task.cancel()
        if leaving:
            await asyncio.wait(leaving)

    async def _follow(self, subject: str, place: Place) -> None:
        try:
            while True:
                await self._connected()
                try:
                    await self._follow_topic(topic_of(subject, project=self._client.subjects_in), subject, place)
                except (UnknownTopic, UnknownProject):
                    # A subject that nobody has published to: its first message makes the topic.
                    place.was_absent = True
                    await asyncio.sleep(ABSENT_S)
        except HeadraceError:
            # What ended the whole client is told once, as its state.
            if self._client.error is None:
                self._denied.add(subject)
                self._telling.status(Constants.NOTIFY_SUBSCRIBE_DENY, subject)

    async def _follow_topic(self, topic: str, subject: str, place: Place) -> None:
        following = Following(resumed=place.has_begun)

        def placed(started: Started) -> None:
            place.position = place.position or started.after
            self._tell(subject, following.started(started))

        subscription = self._client.subscribe(
            topic,
            since=place.since,
            snapshot=not place.history,
            on_gap=lambda gap: self._tell(subject, following.gap(gap)),
            on_started=placed,
        )
        try:
            async for message in subscription:
                await self._room.acquire()
                self._tell(subject, following.message(message), done=self._has_had_one)
                place.position = message.position
        finally:
            await subscription.close()

    def _tell(self, subject: str, told: list[Told], *, done: Callable[[], object] = lambda: None) -> None:
        for item in told:
            if isinstance(item, str):
                self._telling.status(item, subject)
            else:
                message, kind = item
                self._telling.message(received(message, subject, kind), done)

    def _has_had_one(self) -> None:
        """In the listener's thread: there is room for another message, unless the session is over."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._room.release)

    # Publishing.

    def _start_publishing(self, message: MigratoryDataMessage) -> None:
        if len(self._publishing) >= MAX_PUBLISHING:
            self._tell_published(message, Constants.NOTIFY_PUBLISH_FAILED)
            return
        task = self._loop.create_task(self._publish(message))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self, message: MigratoryDataMessage) -> None:
        client = self._client
        deadline = self._loop.time() + PUBLISH_TIMEOUT_S
        try:
            async with asyncio.timeout_at(deadline):
                await self._connected()
            await client.publish(
                topic_of(message.get_subject(), project=client.subjects_in),
                **sent(message),
                timeout=deadline - self._loop.time(),
            )
            status = Constants.NOTIFY_PUBLISH_OK
        except TimeoutError:
            # There was no connection in all that time: it was never sent.
            status = Constants.NOTIFY_PUBLISH_FAILED
        except HeadraceError as error:
            is_large = isinstance(error, TooLarge) and not error.maybe_stored
            status = Constants.NOTIFY_MESSAGE_SIZE_LIMIT_EXCEEDED if is_large else STATUS[outcome_of(error)]
        self._tell_published(message, status)

    def _tell_published(self, message: MigratoryDataMessage, status: str) -> None:
        if message.get_closure():
            self._telling.status(status, message.get_closure())

    # The token.

    async def _show_token(self) -> None:
        self._token_watch.cancel()
        self._token_watch = self._loop.create_task(self._watch_token())
        await self._client.show_token()
        if self._renewal is not None:
            self._renewal.cancel()
        self._renewal = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        """Once a node has taken the token, tell so, and ask again for what the one before did not grant."""
        await self._client.token_taken()
        self._telling.status(Constants.NOTIFY_TOKEN_UPDATED, Constants.NOTIFY_TOKEN_UPDATED)
        await self._follow_all([subject for subject in self._denied if subject in self._places])

    async def _watch_token(self) -> None:
        """Tell when the token is about to expire, and when the cluster takes it no more."""
        expires_s = expiry_of(self._terms.token())
        patience_s = None if expires_s is None else max(expires_s - RENEW_BEFORE_S - time.time(), 0)
        try:
            try:
                async with asyncio.timeout(patience_s):
                    await self._client.ended()
            except TimeoutError:
                self._telling.status(Constants.NOTIFY_TOKEN_TO_EXPIRE, Constants.NOTIFY_TOKEN_TO_EXPIRE)
                await self._client.ended()
        except Unauthorized:
            has_expired = expires_s is not None and time.time() >= expires_s
            status = Constants.NOTIFY_TOKEN_EXPIRED if has_expired else Constants.NOTIFY_TOKEN_INVALID
            self._telling.status(status, status)
        except HeadraceError:
            return
