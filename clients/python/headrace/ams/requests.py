"""The calls below the API's: one HTTP request, repeated where that is asked for and safe."""

# ruff: noqa: PLR0917 (the signatures are those of argo-ams-library)

import logging
import time
import weakref
from collections.abc import Sequence
from typing import Self, Unpack, cast
from urllib.parse import quote

from headrace.ams.answers import ELSEWHERE, field, read_answer
from headrace.ams.errors import (
    AmsBalancerException,
    AmsConnectionException,
    AmsException,
    AmsServiceException,
    AmsTimeoutException,
    refusal,
)
from headrace.ams.message import Document
from headrace.ams.options import CommonOptions, HttpOptions, Options, RequestOptions, read_options
from headrace.ams.retries import waits
from headrace.ams.routes import ROUTES, templates
from headrace.ams.servers import Server, Servers
from headrace.ams.transport import HttpRequest, Pool, TransportFailure

log = logging.getLogger(__name__)

Body = str | bytes | None

_RETRIED = (AmsBalancerException, AmsConnectionException, AmsTimeoutException)

_NO_CERTIFICATE = "No certificate provided"
"""The text of the X.509 service, ours where nothing was sent."""


class AmsHttpRequests:
    """Requests to one server or several.

    An attempt that no server answered, or that a balancer refused (502, 503, 504), goes to the next server of the
    list at once, where it is certain that nothing was sent or the call may be repeated. Only when all have failed
    does the attempt count as failed, and `retry` begins the next.
    """

    def __init__(
        self, endpoint: str | Sequence[str], authn_port: int, token: str = "", cert: str = "", key: str = ""
    ) -> None:
        self._servers = Servers(endpoint)
        self.endpoint = self._servers.all[0].endpoint
        self.authn_port = authn_port
        self.token = ""
        self.routes = templates(self._servers.all[0].scheme)
        self._pool = Pool()
        weakref.finalize(self, self._pool.close)
        self.assign_token(token, cert, key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept. A later call opens new ones."""
        self._pool.close()

    def assign_token(self, token: str, cert: str, key: str) -> None:
        """Use `token`, or, where it is empty, the one that the certificate stands for."""
        if token:
            self.token = _checked(token)
            return
        try:
            self.token = self.auth_via_cert(cert, key)
        except AmsServiceException as error:
            if error.code == 400 and _NO_CERTIFICATE in error.msg:
                message = f"{_NO_CERTIFICATE}. No token provided."
                raise refusal(400, "INVALID_ARGUMENT", message, "auth_x509") from None
            raise

    def auth_via_cert(self, cert: str, key: str, **reqkwargs: Unpack[CommonOptions]) -> str:
        """Return the token that a client certificate stands for; `cert` and `key` are paths."""
        if not cert and not key:
            raise refusal(400, "INVALID_ARGUMENT", f"{_NO_CERTIFICATE}.", "auth_x509")
        options = HttpOptions(cert=(cert, key) if key else cert, **reqkwargs)
        failure: AmsConnectionException | None = None
        for server in self._servers.all:
            path = ROUTES["auth_x509"].path.format(server.host)
            url = f"https://{_bracketed(server.host)}:{self.authn_port}{path}"
            try:
                answer = self.do_get(url, "auth_x509", **options)
                return _checked(str(field(answer, "token", "auth_x509")))
            except AmsConnectionException as error:
                failure = error
        assert failure is not None
        raise failure

    def do_get(self, url: str, route_name: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        return self._request("GET", url, None, route_name, reqkwargs)

    def do_put(self, url: str, body: Body, route_name: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        return self._request("PUT", url, body, route_name, reqkwargs)

    def do_post(
        self,
        url: str,
        body: Body,
        route_name: str,
        retry: int = 0,
        retrysleep: float = 60,
        retrybackoff: float | None = None,
        **reqkwargs: Unpack[HttpOptions],
    ) -> Document:
        options = RequestOptions(retry=retry, retrysleep=retrysleep, retrybackoff=retrybackoff, **reqkwargs)
        return self._request("POST", url, body, route_name, options)

    def do_delete(
        self,
        url: str,
        route_name: str,
        retry: int = 0,
        retrysleep: float = 60,
        retrybackoff: float | None = None,
        **reqkwargs: Unpack[HttpOptions],
    ) -> Document:
        options = RequestOptions(retry=retry, retrysleep=retrysleep, retrybackoff=retrybackoff, **reqkwargs)
        return self._request("DELETE", url, None, route_name, options)

    def _call(self, route_name: str, *names: str, body: Body = None, options: RequestOptions) -> Document:
        """Make the request of a route for these names, through the public `do_` methods."""
        route = ROUTES[route_name]
        path = route.path.format(*(quote(name, safe="") for name in names))
        url = self._servers.all[0].url + path
        if route.method == "get":
            return self.do_get(url, route_name, **options)
        if route.method == "delete":
            return self.do_delete(url, route_name, **options)
        if route.method == "put":
            return self.do_put(url, body, route_name, **options)
        return self.do_post(url, body, route_name, **options)

    def _request(self, method: str, url: str, body: Body, route_name: str, given: RequestOptions) -> Document:
        if route_name not in ROUTES:
            raise AmsException(f"there is no route {route_name!r}")
        rest = cast("RequestOptions", dict(given))
        pauses = waits(
            retry=rest.pop("retry", 0),
            retrysleep=rest.pop("retrysleep", 60),
            retrybackoff=rest.pop("retrybackoff", None),
        )
        options = read_options(rest)
        while True:
            try:
                return self._attempt(method, url, body, route_name, options)
            except _RETRIED as error:
                pause = next(pauses, None)
                if pause is None:
                    raise
                log.warning("%s: again in %s seconds", error, pause)
            time.sleep(pause)

    def _attempt(self, method: str, url: str, body: Body, route_name: str, options: Options) -> Document:
        """Ask one server after the other until one answers."""
        candidates = self._servers.candidates(url)
        while True:
            server, target = candidates.pop(0)
            try:
                return self._ask(server, self._http_request(method, target, body, route_name, options), route_name)
            except _Elsewhere as failure:
                if not candidates or not failure.is_safe:
                    raise failure.error from failure.__cause__
                log.warning("%s: trying the next server", failure.error)

    def _ask(self, server: Server, request: HttpRequest, route_name: str) -> Document:
        """Return one server's answer. Raises `_Elsewhere` where another server may do better."""
        try:
            answer = self._pool.exchange(server, request)
        except TransportFailure as failure:
            error = AmsConnectionException(failure.cause, route_name)
            raise _Elsewhere(error, is_safe=request.repeatable or not failure.sent) from failure.cause
        if answer.status not in ELSEWHERE:
            self._servers.prefer(server)
            return read_answer(answer.status, answer.body, route_name)
        try:
            return read_answer(answer.status, answer.body, route_name)
        except AmsServiceException as error:
            raise _Elsewhere(error, is_safe=request.repeatable) from None

    def _http_request(self, method: str, target: str, body: Body, route_name: str, options: Options) -> HttpRequest:
        headers = {**options.headers, "Accept": "application/json"}
        if route_name != "auth_x509":
            # The attribute may be set to anything, and http.client's error would show it.
            headers["x-api-key"] = _checked(self.token)
        if body is not None or method in ("POST", "PUT"):
            headers.setdefault("Content-Type", "application/json")
        if options.query:
            target += ("&" if "?" in target else "?") + options.query
        return HttpRequest(
            method=method,
            target=target,
            headers=headers,
            body=body.encode() if isinstance(body, str) else body,
            connect_s=options.connect_s,
            read_s=options.read_s,
            tls=options.tls,
            repeatable=ROUTES[route_name].repeatable,
        )


class _Elsewhere(Exception):
    """This server could not answer. `is_safe`: the same call may go to another."""

    def __init__(self, error: AmsException, *, is_safe: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_safe = is_safe


def _checked(token: str) -> str:
    """Return the token without the newline that files end in; raise `ValueError` for what cannot stand in a header."""
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("a token is printable ASCII without spaces")
    return token


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
