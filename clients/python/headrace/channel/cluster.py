"""The way to a Headrace cluster: one HTTP request a call (`POST /rpc_http`, contracts/channel 2), along a server list.

Making a token may be repeated anywhere. A message goes to the next server only where it is certain that the one before
has not taken it: no connection came about, or the server said that it stored nothing.
"""

import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from headrace.ams.options import HttpOptions, read_options
from headrace.ams.servers import Server, Servers
from headrace.ams.transport import HttpAnswer, HttpRequest, Pool, TransportFailure
from headrace.channel import apiproxy_errors
from headrace.channel.messages import DecodeError, Refusal, Request, Response

T = TypeVar("T")

log = logging.getLogger(__name__)

PATH = "/rpc_http"

TIMEOUT_S = 60.0

REPEATABLE = frozenset({"CreateChannel"})

UNKNOWN, DEADLINE_EXCEEDED = 0, 12
"""Codes of a server that could not serve: it has done nothing; or nobody knows what it has done."""

_RPC_ERRORS: dict[int, type[Exception]] = {
    1: apiproxy_errors.CallNotFoundError,
    2: apiproxy_errors.ArgumentError,
    4: apiproxy_errors.OverQuotaError,
    5: apiproxy_errors.RequestTooLargeError,
    DEADLINE_EXCEEDED: apiproxy_errors.DeadlineExceededError,
}

_AWAY = frozenset({502, 503, 504})
"""Statuses of a proxy whose server is away."""


class Cluster:
    """Calls the service on the first server that answers. Threads may share it.

    `servers` is a base URL, or a list of them; `token` may create channels and send. `timeout` in seconds, for the
    connection and for the answer each. `verify`: a path to the certificates to trust, False trusts anybody.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        token: str = "",
        *,
        timeout: float = TIMEOUT_S,
        verify: bool | str | None = None,
    ) -> None:
        self._servers = Servers(servers)
        self._options = read_options(HttpOptions(timeout=timeout, verify=verify))
        self._headers = {"Content-Type": "application/octet-stream", **_authorization(token)}
        self._pool = Pool()
        weakref.finalize(self, self._pool.close)

    def __repr__(self) -> str:
        return f"<Cluster {', '.join(server.url for server in self._servers.all)}>"

    def close(self) -> None:
        """Close the connections that are kept. A later call opens new ones."""
        self._pool.close()

    def call(self, service: str, method: str, request: bytes) -> bytes:
        """Return the method's response. Raises `apiproxy_errors`: `ApplicationError` where the service refuses."""
        body = Request(service_name=service, method=method, request=request).SerializeToString()
        repeatable = method in REPEATABLE
        return self._along(PATH, lambda server, target: self._ask(server, target, body, repeatable=repeatable))

    def get(self, target: str) -> HttpAnswer:
        """Return the answer to what a page asks for, whatever its status; the query says who asks.

        Raises `RPCFailedError`, `DeadlineExceededError` where no server serves.
        """
        return self._along(target, self._fetch)

    def _along(self, target: str, ask: Callable[[Server, str], T]) -> T:
        """Ask the servers in turn, for as long as that is safe."""
        candidates = self._servers.candidates(self._servers.all[0].url + target)
        while True:
            server, path = candidates.pop(0)
            try:
                answer = ask(server, path)
                self._servers.prefer(server)
                return answer
            except _Elsewhere as failure:
                if not candidates or not failure.is_safe:
                    raise failure.error from None
                log.warning("%s: trying the next server", failure.error)

    def _fetch(self, server: Server, target: str) -> HttpAnswer:
        answer = self._exchange(server, "GET", target, headers={}, body=None, repeatable=True)
        if answer.status in _AWAY:
            raise _Elsewhere(_refused(answer), is_safe=True)
        return answer

    def _ask(self, server: Server, target: str, body: bytes, *, repeatable: bool) -> bytes:
        """Return one server's response. Raises `_Elsewhere` where another server may do better."""
        answer = self._exchange(server, "POST", target, headers=self._headers, body=body, repeatable=repeatable)
        if answer.status in _AWAY:
            raise _Elsewhere(_refused(answer), is_safe=repeatable)
        if answer.status != 200:
            raise _refused(answer)
        return _read(answer.body, repeatable=repeatable)

    def _exchange(
        self,
        server: Server,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        repeatable: bool,
    ) -> HttpAnswer:
        request = HttpRequest(
            method=method,
            target=target,
            headers=headers,
            body=body,
            connect_s=self._options.connect_s,
            read_s=self._options.read_s,
            tls=self._options.tls,
            repeatable=repeatable,
        )
        try:
            return self._pool.exchange(server, request)
        except TransportFailure as failure:
            raise _Elsewhere(_lost(server, failure), is_safe=repeatable or not failure.sent) from None


class _Elsewhere(Exception):
    """This server could not serve. `is_safe`: the same call may go to another."""

    def __init__(self, error: Exception, *, is_safe: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_safe = is_safe


def _read(body: bytes, *, repeatable: bool) -> bytes:
    try:
        response = Response.FromString(body)
        if response.HasField("application_error"):
            refusal = Refusal.FromString(response.application_error)
            raise apiproxy_errors.ApplicationError(refusal.code, refusal.detail)
        if not response.HasField("rpc_error"):
            return response.response
        refusal = Refusal.FromString(response.rpc_error)
    except DecodeError as error:
        raise apiproxy_errors.RPCFailedError(f"The server's answer cannot be read: {error}") from None
    failed = _RPC_ERRORS.get(refusal.code, apiproxy_errors.RPCFailedError)(refusal.detail)
    if refusal.code == UNKNOWN or (refusal.code == DEADLINE_EXCEEDED and repeatable):
        raise _Elsewhere(failed, is_safe=True)
    raise failed


def _lost(server: Server, failure: TransportFailure) -> Exception:
    if isinstance(failure.cause, TimeoutError) and failure.sent:
        return apiproxy_errors.DeadlineExceededError(f"{server.url} did not answer in time")
    return apiproxy_errors.RPCFailedError(f"{server.url}: {failure}")


def _refused(answer: HttpAnswer) -> Exception:
    return apiproxy_errors.RPCFailedError(f"The server answered with HTTP status {answer.status}")


def _authorization(token: str) -> dict[str, str]:
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("a token is printable ASCII without spaces")
    return {"Authorization": f"Bearer {token}"} if token else {}
