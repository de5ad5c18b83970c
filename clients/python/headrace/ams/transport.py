"""HTTP over connections that are kept alive. Threads may share a pool; a forked child begins with an empty one.

A kept connection may have been closed at the other end in the meantime, which shows only after a request was written
to it. So only repeatable requests go over kept connections, and where one breaks, a fresh one is tried at once;
others always get a fresh connection.
"""

import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

from headrace.ams.options import Tls
from headrace.ams.servers import Server

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""A pull of a hundred of the largest messages; more is taken for an attack or a mistake."""

MAX_KEPT = 16
"""Idle connections to one server."""

MAX_IDLE_S = 30.0
"""A connection that was idle for longer is not used again."""


class TransportFailure(Exception):
    """No answer came. `sent`: the server may have got the request and acted on it."""

    def __init__(self, cause: Exception, *, sent: bool) -> None:
        super().__init__(repr(cause))
        self.cause = cause
        self.sent = sent


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None
    connect_s: float
    read_s: float
    tls: Tls
    repeatable: bool


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: bytes


Origin = tuple[str, str, int, Tls]


@dataclass(slots=True)
class _Kept:
    connection: HTTPConnection
    since: float


class Pool:
    """Idle connections by origin, the most recently used first."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._idle: dict[Origin, deque[_Kept]] = {}
        self._process = os.getpid()

    def exchange(self, server: Server, request: HttpRequest) -> HttpAnswer:
        """Send one request and return its answer, or raise `TransportFailure`."""
        origin = (server.scheme, server.host, server.port, request.tls)
        kept = self._take(origin) if request.repeatable else None
        if kept is not None:
            try:
                return self._converse(kept, origin, request)
            except TransportFailure as failure:
                if isinstance(failure.cause, TimeoutError):
                    raise
        return self._converse(_connect(origin, request.connect_s), origin, request)

    def close(self) -> None:
        """Close what is idle. The pool can be used afterwards."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for queue in idle.values():
            for kept in queue:
                kept.connection.close()

    def _converse(self, connection: HTTPConnection, origin: Origin, request: HttpRequest) -> HttpAnswer:
        try:
            connection.sock.settimeout(request.read_s)
            connection.request(request.method, request.target, body=request.body, headers=dict(request.headers))
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES + 1)
            if len(body) > MAX_ANSWER_BYTES:
                raise HTTPException(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        except (OSError, HTTPException) as cause:
            connection.close()
            raise TransportFailure(cause, sent=True) from None
        except BaseException:
            # Whatever interrupted this left half an exchange behind.
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._keep(origin, connection)
        return HttpAnswer(response.status, body)

    def _take(self, origin: Origin) -> HTTPConnection | None:
        self._forget_after_fork()
        oldest = self._monotonic() - MAX_IDLE_S
        with self._lock:
            queue = self._idle.get(origin)
            kept = queue.pop() if queue else None
        if kept is None or kept.since >= oldest:
            return kept.connection if kept else None
        # The others have been idle for even longer.
        kept.connection.close()
        self._drop(origin)
        return None

    def _keep(self, origin: Origin, connection: HTTPConnection) -> None:
        with self._lock:
            queue = self._idle.setdefault(origin, deque())
            queue.append(_Kept(connection, self._monotonic()))
            surplus = queue.popleft() if len(queue) > MAX_KEPT else None
        if surplus is not None:
            surplus.connection.close()

    def _drop(self, origin: Origin) -> None:
        with self._lock:
            queue = self._idle.pop(origin, None)
        for kept in queue or ():
            kept.connection.close()

    def _forget_after_fork(self) -> None:
        """The parent goes on using its sockets: the child closes its copies and speaks over none of them."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock = threading.Lock()
            idle, self._idle = self._idle, {}
            for queue in idle.values():
                for kept in queue:
                    _abandon(kept.connection)


def _abandon(connection: HTTPConnection) -> None:
    """Close the descriptor without TLS's goodbye, which would reach the parent's peer."""
    if connection.sock is not None:
        os.close(connection.sock.detach())


def _connect(origin: Origin, connect_s: float) -> HTTPConnection:
    scheme, host, port, tls = origin
    try:
        if scheme == "http":
            connection = HTTPConnection(host, port, timeout=connect_s)
        else:
            connection = HTTPSConnection(host, port, timeout=connect_s, context=_context(tls))
        connection.connect()
    except (OSError, HTTPException) as cause:
        raise TransportFailure(cause, sent=False) from None
    return connection


def _context(tls: Tls) -> ssl.SSLContext:
    """Raises `OSError` for files that are not there or hold no certificate."""
    if tls.cert is None:
        return _anonymous(tls.ca)
    # Read every time: a certificate of hours is replaced under the same name.
    context = _trusting(tls.ca)
    context.load_cert_chain(*tls.cert)
    return context


@lru_cache(maxsize=64)
def _anonymous(ca: str | None) -> ssl.SSLContext:
    """Building one reads every certificate that is trusted."""
    return _trusting(ca)


def _trusting(ca: str | None) -> ssl.SSLContext:
    if ca:
        is_directory = Path(ca).is_dir()
        return ssl.create_default_context(cafile=None if is_directory else ca, capath=ca if is_directory else None)
    context = ssl.create_default_context()
    if ca == "":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
