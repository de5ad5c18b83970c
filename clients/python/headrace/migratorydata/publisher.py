"""The blocking client of version 5: set the servers, publish, read the status (contracts/migratorydata 1.1)."""

import ssl
import threading
from typing import Self

from headrace import blocking
from headrace.connector import Refused
from headrace.errors import ClientClosed, ConnectionFailed, Forbidden, HeadraceError, PublishTimeout, Unauthorized
from headrace.failover import Server
from headrace.migratorydata.addresses import parse_servers
from headrace.migratorydata.constants import Constants
from headrace.migratorydata.errors import MigratoryDataException
from headrace.migratorydata.messages import MigratoryDataMessage, check_message, sent
from headrace.migratorydata.naming import with_camel_case
from headrace.migratorydata.subjects import topic_of
from headrace.migratorydata.tokens import check_token
from headrace.outcomes import Outcome, outcome_of

CONNECT_TIMEOUT_S = 10.0
"""For `setServers`, by default."""

PUBLISH_TIMEOUT_S = 10.0
"""For one publish, failovers included."""

STATUS = {
    Outcome.OK: Constants.NOTIFY_PUBLISH_OK,
    Outcome.FAILED: Constants.NOTIFY_PUBLISH_FAILED,
    Outcome.DENIED: Constants.NOTIFY_PUBLISH_DENIED,
    Outcome.NO_SUBSCRIBER: Constants.NOTIFY_PUBLISH_NO_SUBSCRIBER,
    Outcome.TIMEOUT: Constants.NOTIFY_PUBLISH_TIMEOUT,
}


@with_camel_case
class MigratoryDataClient(Constants):
    """Publishes and waits. `set_servers` connects; the connection then follows the cluster by itself.

    Its methods may be called by several threads. `tls` is for clusters whose certificates the system does not know.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._token = self._shown = ""
        self._encrypted = False
        self._connect_timeout_s = CONNECT_TIMEOUT_S
        self._servers: list[Server] = []
        self._native: blocking.Client | None = None
        self._renewing = threading.Lock()

    def __repr__(self) -> str:
        return f"<MigratoryDataClient {self._native!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def set_entitlement_token(self, token: str) -> None:
        """Say who publishes. Where a connection stands, its rights are the new token's once a node has taken it.

        Where the servers ended it because of the token before, the next publish connects again. Raises
        `MigratoryDataException` while it stands (E_ENTITLEMENT_TOKEN); `set_servers` does so else.
        """
        native = self._native
        if native is not None:
            check_token(token)
        self._token = token
        if native is not None:
            native.show_token()

    def set_encryption(self, encryption: bool) -> None:
        """Reach servers that are given as `host:port` over TLS."""
        self._encrypted = encryption

    def set_connection_timeout(self, milliseconds: int) -> None:
        """How long `set_servers` tries."""
        self._connect_timeout_s = milliseconds / 1000

    def set_servers(self, servers: list[str]) -> None:
        """Connect to one of the servers; a connection that stands is given up.

        Raises `MigratoryDataException`: E_INVALID_URL_LIST, E_CLUSTER_MEMBERS_CONNECTION_FAILED, E_ENTITLEMENT_TOKEN,
        E_CONNECTION_DENY.
        """
        parsed = parse_servers(servers, encrypted=self._encrypted)
        check_token(self._token)
        self.disconnect()
        self._servers = parsed
        self._native = self._connected()

    def _connected(self) -> blocking.Client:
        self._shown = self._token
        servers, token = self._servers, lambda: self._token
        native = blocking.Client(servers, token=token, name="migratorydata", tls=self._tls).open()
        try:
            native.connected(timeout=self._connect_timeout_s)
        except HeadraceError as error:
            native.close(timeout=0)
            raise _refusal(error) from None
        except BaseException:
            native.close(timeout=0)
            raise
        return native

    def _renewed(self, native: blocking.Client) -> blocking.Client:
        """Return a connection with the token of now in place of one that was ended because of another."""
        with self._renewing:
            current = self._native
            if current is not native or self._token == self._shown:
                return current or native
            self._native = self._connected()
        native.close(timeout=0)
        return self._native

    def publish(self, message: MigratoryDataMessage | None) -> str:
        """Publish one message and return what became of it, one of the five `NOTIFY_PUBLISH_` constants.

        After TIMEOUT the message may have been published or not. Raises `MigratoryDataException`: E_MSG_NULL,
        E_MSG_INVALID, E_MSG_FIELD_INVALID, E_INVALID_SUBJECT, E_NOT_CONNECTED before `set_servers`, and
        E_CLUSTER_MEMBERS_CONNECTION_FAILED where no server could be reached: the message was not published then.
        """
        checked = check_message(message)
        native = self._native
        if native is None:
            raise MigratoryDataException(MigratoryDataException.E_NOT_CONNECTED, "Call setServers first.")
        try:
            if isinstance(native.inner.error, Unauthorized):
                native = self._renewed(native)
            _publish(native, checked)
        except MigratoryDataException as refused:
            if refused.code == MigratoryDataException.E_ENTITLEMENT_TOKEN:
                return self.NOTIFY_PUBLISH_DENIED
            raise
        except HeadraceError as error:
            if isinstance(error, Refused) and not error.maybe_stored:
                return self.NOTIFY_PUBLISH_DENIED
            is_away = not native.state.connected and isinstance(error, PublishTimeout | ConnectionFailed | ClientClosed)
            if is_away and not error.maybe_stored:
                raise _refusal(ConnectionFailed()) from None
            return STATUS[outcome_of(error)]
        return self.NOTIFY_PUBLISH_OK

    def disconnect(self) -> None:
        """End the connection and free what it holds. Idempotent."""
        native, self._native = self._native, None
        if native is not None:
            native.close()


def _publish(native: blocking.Client, message: MigratoryDataMessage) -> None:
    topic = topic_of(message.get_subject(), project=native.subjects_in)
    native.publish(topic, **sent(message), timeout=PUBLISH_TIMEOUT_S)


def _refusal(error: HeadraceError) -> MigratoryDataException:
    if isinstance(error, Unauthorized):
        return MigratoryDataException(MigratoryDataException.E_ENTITLEMENT_TOKEN, error.reason)
    if isinstance(error, ConnectionFailed | ClientClosed):
        code = MigratoryDataException.E_CLUSTER_MEMBERS_CONNECTION_FAILED
        return MigratoryDataException(code, f"No server of the list can be reached: {error.reason}")
    detail = "The servers refuse the connection." if isinstance(error, Forbidden) else error.reason
    return MigratoryDataException(MigratoryDataException.E_CONNECTION_DENY, detail)
