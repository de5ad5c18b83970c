"""The full client of MigratoryData's later generations: subscriptions, a listener, statuses, pause and resume.

`publish` is asynchronous: a status comes to the listener where the message has a closure (contracts/migratorydata 1.2).
"""

import logging
import ssl
import threading
from collections.abc import Iterable
from dataclasses import replace

from headrace.migratorydata.addresses import parse_servers
from headrace.migratorydata.backoff import POLICIES, Backoff, Settings
from headrace.migratorydata.constants import Constants, MessageType, QoS
from headrace.migratorydata.errors import MigratoryDataException
from headrace.migratorydata.following import Place
from headrace.migratorydata.listener import MigratoryDataListener, Telling
from headrace.migratorydata.logs import LogLevel, LogListening
from headrace.migratorydata.messages import MigratoryDataMessage, check_message
from headrace.migratorydata.naming import with_camel_case
from headrace.migratorydata.session import Session, Terms
from headrace.migratorydata.subjects import check_subject
from headrace.migratorydata.tokens import check_token

__all__ = [
    "LogLevel",
    "MessageType",
    "MigratoryDataClient",
    "MigratoryDataException",
    "MigratoryDataListener",
    "MigratoryDataMessage",
    "QoS",
]

DEFAULT_ATTEMPTS_BEFORE_DOWN = 1
DEFAULT_ATTEMPTS_IN_WINDOW = 15

logger = logging.getLogger("headrace")


@with_camel_case
class MigratoryDataClient(Constants):
    """Connects to one server of a list and stays with the cluster. Methods may be called from several threads.

    `tls` is for clusters whose certificates the system does not know. Every method has its camelCase name too.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._lock = threading.RLock()
        self._telling = Telling()
        self._logs: LogListening | None = None
        self._servers: list[str] = []
        self._token = ""
        self._encrypted = False
        self._places: dict[str, Place] = {}
        self._session: Session | None = None
        self._is_paused = False
        self._attempts_before_down = DEFAULT_ATTEMPTS_BEFORE_DOWN
        self._attempts_in_window = DEFAULT_ATTEMPTS_IN_WINDOW
        self._settings: Settings | None = None

    def __repr__(self) -> str:
        return f"<MigratoryDataClient of {len(self._servers)} servers, {len(self._places)} subjects>"

    # Settings, for the next connect.

    def set_listener(self, listener: object) -> None:
        """Say who is told of messages and statuses: an object with `on_message(message)`, `on_status(status, info)`."""
        self._telling.listener = listener

    def get_listener(self) -> object:
        return self._telling.listener

    def set_log_listener(self, listener: object, level: LogLevel) -> None:
        """Say who gets the library's log lines of `level` and above: an object with `on_log(log, level)`.

        None for nobody. It is called where the line was written: it must not call the client.
        """
        if self._logs is not None:
            self._logs.close()
        self._logs = None if listener is None else LogListening(listener, level)

    def set_servers(self, servers: list[str]) -> None:
        """Give the list: `host:port` or `weight host:port`. Raises `MigratoryDataException` (E_INVALID_URL_LIST)."""
        parse_servers(servers, encrypted=self._encrypted)
        self._servers = list(servers)

    def set_encryption(self, encryption: bool) -> None:
        """Reach servers that are given as `host:port` over TLS."""
        self._encrypted = encryption

    def set_transport(self, transport: str) -> None:
        """Only WebSocket is spoken: TRANSPORT_HTTP is taken, and WebSocket used all the same."""
        if transport not in (self.TRANSPORT_HTTP, self.TRANSPORT_WEBSOCKET):
            raise ValueError("a transport is TRANSPORT_HTTP or TRANSPORT_WEBSOCKET")
        if transport == self.TRANSPORT_HTTP:
            logger.info("TRANSPORT_HTTP was asked for; the connection is a WebSocket")

    def set_entitlement_token(self, token: str) -> None:
        """Say who this is. While connected, NOTIFY_TOKEN_UPDATED tells that the new token's rights count.

        A client that the servers ended, because they refused the token before, connects again. Raises
        `MigratoryDataException` while connected (E_ENTITLEMENT_TOKEN); `connect` does so else.
        """
        with self._lock:
            if self._session is not None:
                check_token(token)
            self._token = token
            if self._session is None:
                return
            if self._session.is_over:
                self._close()
                self._open()
            else:
                self._session.show_token()

    def notify_after_failed_connection_attempts(self, n: int) -> None:
        """Tell NOTIFY_SERVER_DOWN after `n` failed attempts in a row; 1 by default."""
        self._attempts_before_down = max(n, 1)

    set_servers_down_before_notify = notify_after_failed_connection_attempts
    notify_after_reconnect_retries = notify_after_failed_connection_attempts
    """Their names in version 5."""

    def notify_when_reconnect_rate_exceeds_threshold(self, n: int) -> None:
        """Tell NOTIFY_RECONNECT_RATE_EXCEEDED after `n` attempts to reconnect in three minutes; 15 by default."""
        self._attempts_in_window = max(n, 1)

    # Any of these five chooses MigratoryData's own delays, with its defaults for the others.

    def set_quick_reconnect_max_retries(self, retries: int) -> None:
        """How many attempts after a break are quick."""
        self._settings = replace(self._settings or Settings(), quick_retries=max(retries, 0))

    def set_quick_reconnect_initial_delay(self, seconds: float) -> None:
        """Quick attempt `k` comes `seconds * k` after the one before, less a random part of `seconds`."""
        self._settings = replace(self._settings or Settings(), quick_initial_s=max(seconds, 0.0))

    def set_reconnect_policy(self, policy: str) -> None:
        """CONSTANT_WINDOW_BACKOFF, or TRUNCATED_EXPONENTIAL_BACKOFF, for the attempts after the quick ones."""
        if policy not in POLICIES:
            raise ValueError("a policy is CONSTANT_WINDOW_BACKOFF or TRUNCATED_EXPONENTIAL_BACKOFF")
        self._settings = replace(self._settings or Settings(), policy=policy)

    def set_reconnect_time_interval(self, seconds: float) -> None:
        """The window of the policy."""
        self._settings = replace(self._settings or Settings(), interval_s=max(seconds, 0.0))

    def set_reconnect_max_delay(self, seconds: float) -> None:
        """The longest delay between two attempts."""
        self._settings = replace(self._settings or Settings(), most_s=max(seconds, 0.0))

    # Subjects.

    def subscribe(self, subjects: Iterable[str]) -> None:
        """Follow subjects: their snapshots, then what is published. Raises `MigratoryDataException` (code 1)."""
        self.subscribe_with_history(subjects, 0)

    def subscribe_with_history(self, subjects: Iterable[str], n: int) -> None:
        """Follow subjects from their last `n` messages on; 0 is `subscribe`."""
        checked = [check_subject(subject) for subject in _list_of(subjects)]
        with self._lock:
            for subject in checked:
                self._places.setdefault(subject, Place(history=max(n, 0)))
            if self._session is not None:
                self._session.subscribe(checked)

    def unsubscribe(self, subjects: Iterable[str]) -> None:
        """Follow them no longer."""
        leaving = _list_of(subjects)
        with self._lock:
            if self._session is not None:
                self._session.unsubscribe(leaving)
            for subject in leaving:
                self._places.pop(subject, None)

    def get_subjects(self) -> list[str]:
        with self._lock:
            return list(self._places)

    # Messages.

    def publish(self, message: MigratoryDataMessage | None) -> None:
        """Publish in the background. Raises `MigratoryDataException`: 13 before `connect`, 4, 5, 6, 1."""
        with self._lock:
            if self._session is None:
                raise MigratoryDataException(MigratoryDataException.E_NOT_CONNECTED, "Call connect first.")
            checked = check_message(message)
            if checked.get_reply_subject():
                # The answers come here: version 6 leaves unsubscribing to the application.
                self.subscribe([checked.get_reply_subject()])
            self._session.publish(checked)

    # The connection.

    def connect(self) -> None:
        """Begin to connect; NOTIFY_SERVER_UP tells when it is done. Raises `MigratoryDataException`: 8, 11, 12."""
        with self._lock:
            if self._session is not None or self._is_paused:
                raise MigratoryDataException(MigratoryDataException.E_RUNNING, "The client is connected already.")
            self._open()

    def disconnect(self) -> None:
        """End the connection, tell what is waiting, and forget the places. The subjects stay. Idempotent."""
        with self._lock:
            self._close()
            self._is_paused = False
            self._places = {subject: Place(history=place.history) for subject, place in self._places.items()}
            ending = self._telling.stop()
        # Without the lock: what is told meanwhile may call this client.
        self._telling.await_end(ending)

    def pause(self) -> None:
        """End the connection, and remember subjects and places."""
        with self._lock:
            if self._session is not None:
                self._close()
                self._is_paused = True

    def resume(self) -> None:
        """Connect again after `pause`; what was missed comes first, as far as it is retained."""
        with self._lock:
            if self._is_paused:
                self._open()
                self._is_paused = False

    def _open(self) -> None:
        check_token(self._token)
        terms = Terms(
            servers=parse_servers(self._servers, encrypted=self._encrypted),
            token=lambda: self._token,
            tls=self._tls,
            schedule=Backoff(settings=self._settings) if self._settings else None,
            attempts_before_down=self._attempts_before_down,
            attempts_in_window=self._attempts_in_window,
        )
        self._telling.start()
        self._session = Session(terms, self._telling, self._places)

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _list_of(subjects: Iterable[str]) -> list[str]:
    if isinstance(subjects, str) or not isinstance(subjects, Iterable):
        raise MigratoryDataException(MigratoryDataException.E_INVALID_SUBJECT, "Give a list of subjects.")
    return list(subjects)
