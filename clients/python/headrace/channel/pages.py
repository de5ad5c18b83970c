"""The pages' side of a cluster, for a stub that stands in for its nodes: the methods that a development server calls.

The stub is then a page itself, for each client that is connected here: it asks a node for messages with the long poll
of its script, which is answered at once, and keeps what it got until the caller takes it. It says each time which
message it got last, so that a request which is repeated, on whichever node, brings nothing twice. The nodes tell of
presence.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypedDict
from urllib.parse import urlencode

from headrace.ams.transport import HttpAnswer
from headrace.channel import tokens
from headrace.channel.apiproxy_errors import Error, RPCFailedError
from headrace.channel.tokens import InvalidTokenError, TokenTimedOutError

PATH = "/_ah/channel/poll"

TIMED_OUT = "Token+timed+out."
"""How a node describes a token that was one; else it was none (contracts/channel 5)."""

ALIVE_S = 2.0
"""A client that nobody has connected for so long is not connected (`CHANNEL_TIMEOUT_SECONDS`)."""

MAX_PENDING = 10_000
"""Messages that are kept here for one client; the others stay with the cluster."""

MAX_CONNECTED = 10_000
"""Clients, before those are looked for that are not connected any more."""


class Getter(Protocol):
    """The way to a cluster: `headrace.channel.cluster.Cluster`."""

    def get(self, target: str) -> HttpAnswer: ...


class Opened(TypedDict):
    client: str
    last_id: str


class Refused(TypedDict):
    description: str


class Frame(TypedDict, total=False):
    """What a node's long poll says, as far as it matters here."""

    open: Opened
    error: Refused
    id: str
    data: str


class _Replaced(Exception):
    """Another page has taken over the client's channel."""


@dataclass(slots=True)
class _Connected:
    token: str = field(repr=False)
    client: str
    """What the node calls the connection."""
    last_id: str
    until: float
    pending: list[str] = field(default_factory=list)


class Pages:
    """The clients that are connected through one stub. `now` is its clock, in seconds. Threads may share it."""

    def __init__(self, cluster: Getter, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._now = now
        self._lock = threading.RLock()
        self._connected: dict[str, _Connected] = {}

    def check(self, token: str) -> str:
        """Return the client id, as a node confirms it.

        Raises `InvalidTokenError`, `TokenTimedOutError`, and `RPCFailedError` where no node answers.
        """
        client_id = _client_id(token)
        self._ask(token, check="1")
        return client_id

    def connect(self, token: str) -> None:
        """Connect the client, or keep it connected. Raises as `check` does."""
        client_id = _client_id(token)
        with self._lock:
            connected = self._live(client_id)
            try:
                if connected is not None:
                    self._read(connected, token)
            except _Replaced:
                connected = None
            if connected is None:
                connected = self._connected[client_id] = self._open(token)
            connected.until = self._now() + ALIVE_S

    def pending(self, token: str) -> list[str] | None:
        """Return the pending messages, the list itself; None where the client is not connected here or the token bad.

        Where no node answers it is what came before.
        """
        with self._lock:
            try:
                client_id = _client_id(token)
                connected = self._live(client_id)
                if connected is not None:
                    self._read(connected, token)
            except tokens.Error:
                return None
            except _Replaced:
                del self._connected[client_id]
                return None
            except Error:
                pass
            return connected.pending if connected is not None else None

    def clear(self, token: str) -> bool:
        """Drop what is pending; False where nobody is connected here, or the token is bad."""
        with self._lock:
            if self.pending(token) is None:
                return False
            self._connected[_client_id(token)].pending = []
            return True

    def leave(self, client_id: str) -> bool:
        """Disconnect the client with what is pending; False where it was not connected here."""
        with self._lock:
            connected = self._live(client_id)
            if connected is None:
                return False
            del self._connected[client_id]
        query = urlencode({"command": "disconnect", "channel": connected.token, "client": connected.client})
        # Where nobody hears this, the nodes notice that it asks no more.
        self._cluster.get(f"/_ah/channel/dev?{query}")
        return True

    def _live(self, client_id: str) -> _Connected | None:
        connected = self._connected.get(client_id)
        if connected is not None and connected.until <= self._now():
            del self._connected[client_id]
            return None
        return connected

    def _open(self, token: str) -> _Connected:
        if len(self._connected) >= MAX_CONNECTED:
            for client_id in list(self._connected):
                self._live(client_id)
        if len(self._connected) >= MAX_CONNECTED:
            raise RPCFailedError("Too many clients are connected through this stub")
        opened = self._ask(token)[0]["open"]
        return _Connected(token, opened["client"], opened["last_id"], self._now())

    def _read(self, connected: _Connected, token: str) -> None:
        """Take over what the cluster has for the client, at least asking once: that checks the token."""
        while True:
            frames = self._ask(token, client=connected.client, last_id=connected.last_id, wait="0")
            connected.token, connected.client = token, frames[0]["open"]["client"]
            messages = [frame for frame in frames if "data" in frame]
            connected.pending += [message["data"] for message in messages]
            # What is gone for good is not asked for again.
            connected.last_id = messages[-1]["id"] if messages else frames[0]["open"]["last_id"]
            if not messages or len(connected.pending) >= MAX_PENDING:
                return

    def _ask(self, token: str, **fields: str) -> list[Frame]:
        """Return the frames of a long poll's answer. Raises as `check` does, and `_Replaced`."""
        answer = self._cluster.get(f"{PATH}?{urlencode({'channel': token, **fields})}")
        frames = _frames(answer.body)
        if answer.status == 200 and frames is not None and ("check" in fields or "open" in frames[0]):
            return frames
        if answer.status == 401 and frames is not None and "error" in frames[0]:
            raise TokenTimedOutError if frames[0]["error"]["description"] == TIMED_OUT else InvalidTokenError
        if answer.status == 409:
            raise _Replaced
        raise RPCFailedError(f"The server answered with HTTP status {answer.status}")


def _frames(body: bytes) -> list[Frame] | None:
    """Return a list of frames, the empty one as one empty frame; None for what is none."""
    try:
        frames = json.loads(body)
    except ValueError:
        return None
    is_list = isinstance(frames, list) and all(isinstance(frame, dict) for frame in frames)
    return (frames or [Frame()]) if is_list else None


def _client_id(token: str) -> str:
    """Return the client id that a token names. Raises `InvalidTokenError` for what cannot be one."""
    client_id = tokens.client_id_in(token)
    if client_id is None:
        raise InvalidTokenError
    return client_id
