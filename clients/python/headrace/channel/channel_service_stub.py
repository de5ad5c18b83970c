"""A drop-in for the SDK's stub of the service (contracts/channel 4): channels in this process's memory.

With `cluster` it keeps no channels: they are made, and messages sent, on a Headrace cluster. The methods that a
development server calls on behalf of its pages work there too: whoever is connected through them is a page of the
cluster's, whose presence the nodes tell of (`headrace.channel.pages`).
"""

# ruff: noqa: N802 (the names are those of the SDK)

import logging
import random
import secrets
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote_plus

from headrace.channel import tokens
from headrace.channel.apiproxy_errors import ApplicationError
from headrace.channel.apiproxy_stub import APIProxyStub, ProtocolMessage, RequestData
from headrace.channel.messages import ChannelServiceError
from headrace.channel.pages import Getter, Pages
from headrace.channel.tokens import Error, InvalidTokenError, TokenTimedOutError

__all__ = ["ChannelServiceStub", "Error", "InvalidTokenError", "TokenTimedOutError"]

SERVICES = ("channel", "xmpp")
"""The service is called by either name: by the first on a development server, by the second in production."""

MAX_PENDING = 10_000
"""Messages that wait for one connected client; one more is dropped, as all are while nobody is connected."""

_TIMER = "channel-disconnect"

_FORM = [("Content-Type", "application/x-www-form-urlencoded")]

_KEY_BYTES = 32


class Caller(Getter, Protocol):
    """The way to a cluster: `headrace.channel.cluster.Cluster`."""

    def call(self, service: str, method: str, request: bytes) -> bytes: ...


class CreateRequest(ProtocolMessage, Protocol):
    application_key: str
    duration_minutes: int

    def HasField(self, name: str, /) -> bool: ...


class CreateResponse(ProtocolMessage, Protocol):
    token: str


class SendRequest(ProtocolMessage, Protocol):
    application_key: str
    message: str


class ChannelServiceStub(APIProxyStub):
    """Keeps a queue for each client that is connected. Threads may share it."""

    THREADSAFE = True

    CHANNEL_TIMEOUT_SECONDS = 2
    """A client that has not polled for so long is disconnected."""

    XMPP_PUBLIC_IP = "0.1.0.10"
    """Where presence requests seem to come from."""

    CHANNEL_TOKEN_DEFAULT_DURATION = 120
    """Minutes."""

    CHANNEL_TOKEN_IDENTIFIER = tokens.WORD

    def __init__(
        self,
        log: Callable[..., object] = logging.debug,
        service_name: str = "channel",
        time_func: Callable[[], float] = time.time,
        request_data: RequestData | None = None,
        *,
        cluster: Caller | None = None,
    ) -> None:
        super().__init__(service_name, request_data=request_data)
        self._name = service_name
        self._log = log
        self._time_func = time_func
        self._cluster = cluster
        self._pages = Pages(cluster, time_func) if cluster is not None else None
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._connected_channel_messages: dict[str, list[str]] = {}

    def CheckRequest(self, service: str, call: str, request: ProtocolMessage) -> None:
        super().CheckRequest(self._name if service in SERVICES else service, call, request)

    # The service's methods.

    def _Dynamic_CreateChannel(self, request: CreateRequest, response: CreateResponse) -> None:
        if self._cluster is not None:
            response.ParseFromString(self._cluster.call(self._name, "CreateChannel", request.SerializeToString()))
            return
        client_id = request.application_key
        if not client_id:
            raise ApplicationError(ChannelServiceError.INVALID_CHANNEL_KEY)
        has_duration = request.HasField("duration_minutes")
        minutes = request.duration_minutes if has_duration else self.CHANNEL_TOKEN_DEFAULT_DURATION
        number = random.randint(0, tokens.MAX_NUMBER)
        response.token = tokens.mint(self._key, client_id, minutes=minutes, now=self._time_func(), number=number)
        self._log("Created a channel for client id %s, of %s minutes", client_id, minutes)

    def _Dynamic_SendChannelMessage(self, request: SendRequest, response: ProtocolMessage) -> None:
        if self._cluster is not None:
            self._cluster.call(self._name, "SendChannelMessage", request.SerializeToString())
            return
        client_id = self.client_id_from_token(request.application_key)
        if client_id is None:
            client_id = request.application_key
        if not request.message:
            raise ApplicationError(ChannelServiceError.BAD_MESSAGE)
        with self._mutex:
            pending = self._connected_channel_messages.get(client_id)
            if pending is None or len(pending) >= MAX_PENDING:
                self._log("Dropped a message: nobody is connected, or nobody reads")
            else:
                pending.append(request.message)

    # Tokens.

    @property
    def knows_tokens(self) -> bool:
        """Whether this stub can tell a valid token itself; those of a cluster only the cluster can."""
        return self._cluster is None

    def client_id_from_token(self, token: str) -> str | None:
        """Return the client id, None for a bad token and for an expired one."""
        try:
            return self.validate_token_and_extract_client_id(token)
        except Error:
            return None

    def validate_token_and_extract_client_id(self, token: str) -> str:
        """Return the client id. Raises `InvalidTokenError`, `TokenTimedOutError`."""
        if self._pages is not None:
            return self._pages.check(token)
        return tokens.read(self._key, token, now=self._time_func())

    # What a page gets.

    def get_channel_messages(self, token: str) -> list[str] | None:
        """Return the pending messages, the list itself; None where the client is not connected or the token bad."""
        if self._pages is not None:
            return self._pages.pending(token)
        client_id = self.client_id_from_token(token)
        with self._mutex:
            return self._connected_channel_messages.get(client_id) if client_id is not None else None

    def has_channel_messages(self, token: str) -> bool:
        return bool(self.get_channel_messages(token))

    def pop_first_message(self, token: str) -> str | None:
        """Return the oldest message, which is no longer pending then; None where there is none."""
        with self._mutex:
            pending = self.get_channel_messages(token)
            return pending.pop(0) if pending else None

    def clear_channel_messages(self, token: str) -> None:
        """Drop what is pending; the client stays connected. A bad token changes nothing."""
        if self._pages is not None:
            self._pages.clear(token)
            return
        client_id = self.client_id_from_token(token)
        with self._mutex:
            if client_id in self._connected_channel_messages:
                self._connected_channel_messages[client_id] = []
            else:
                self._log("Nothing to clear: the token is bad, or its client is not connected")

    # Coming and going.

    def connect_channel(self, token: str) -> None:
        """Connect the client, or, where it is connected, put off its timeout. Raises as validating the token does."""
        if self._pages is not None:
            self._pages.connect(token)
            return
        client_id = self.validate_token_and_extract_client_id(token)
        with self._mutex:
            if client_id in self._connected_channel_messages:
                timeout = self._time_func() + self.CHANNEL_TIMEOUT_SECONDS
                self.request_data.get_dispatcher().update_event(timeout, _TIMER, client_id)
                return
            self._connected_channel_messages[client_id] = []
            self.add_connect_event(client_id)
            self.add_disconnect_event(client_id)

    def connect_and_pop_first_message(self, token: str) -> str | None:
        """Do both at once: what a poll does."""
        with self._mutex:
            self.connect_channel(token)
            return self.pop_first_message(token)

    def add_connect_event(self, client_id: str) -> None:
        """Tell the application that a client has connected."""
        self._tell("/_ah/channel/connected/", client_id)

    def add_disconnect_event(self, client_id: str) -> None:
        """Disconnect the client after `CHANNEL_TIMEOUT_SECONDS`, unless that is put off."""
        timeout = self._time_func() + self.CHANNEL_TIMEOUT_SECONDS
        dispatcher = self.request_data.get_dispatcher()
        dispatcher.add_event(lambda: self.disconnect_channel_event(client_id), timeout, _TIMER, client_id)

    def disconnect_channel_event(self, client_id: str) -> None:
        """Forget the client with what is pending, and tell the application, whether or not it was connected.

        Of one that was connected on a cluster its nodes tell.
        """
        if self._pages is not None and self._pages.leave(client_id):
            return
        with self._mutex:
            self._connected_channel_messages.pop(client_id, None)
            self._tell("/_ah/channel/disconnected/", client_id)

    def _tell(self, path: str, client_id: str) -> None:
        # The original does not encode the id: one with a `&` arrived cut. For a plain one it is the same.
        body = f"from={quote_plus(client_id, errors='surrogateescape')}"
        self.request_data.get_dispatcher().add_async_request("POST", path, list(_FORM), body, self.XMPP_PUBLIC_IP)
