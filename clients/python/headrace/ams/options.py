"""The keyword arguments that every call takes, named as those of the requests library that ARGO's client hands on."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict, cast
from urllib.parse import urlencode

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""For each part of an answer; a waiting pull answers within seconds."""

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""A file or a directory of certificates to trust in place of the system's."""


class CommonOptions(TypedDict, total=False):
    """`timeout` in seconds, one or (connect, read); `verify` False trusts anybody, a path names a CA.

    `allow_redirects` is taken and ignored: no redirect is ever followed.
    """

    timeout: float | tuple[float | None, float | None] | None
    verify: bool | str | None
    headers: Mapping[str, str] | None
    params: Mapping[str, object] | None
    allow_redirects: bool


class HttpOptions(CommonOptions, total=False):
    """`cert` is a client certificate: a file, or (certificate, key)."""

    cert: str | tuple[str, str] | None


class RequestOptions(HttpOptions, total=False):
    """`retry` further attempts, `retrysleep` seconds apart, or with a growing `retrybackoff`."""

    retry: int
    retrysleep: float
    retrybackoff: float | None


@dataclass(frozen=True, slots=True)
class Tls:
    """`ca`: None trusts the system's certificates, empty trusts anybody, else a path."""

    ca: str | None = None
    cert: tuple[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """The same, checked. `repr` shows no header: one of them is the token."""

    connect_s: float
    read_s: float
    tls: Tls
    headers: Mapping[str, str] = field(repr=False)
    query: str


def read_options(given: HttpOptions, *, environ: Mapping[str, str] = os.environ) -> Options:
    """Check what a caller gave. Raises `TypeError` for an unknown name and `ValueError` for a useless value."""
    unknown = set(given) - set(HttpOptions.__annotations__)
    if unknown:
        raise TypeError(f"not an option of headrace.ams: {', '.join(sorted(unknown))}")
    connect_s, read_s = _timeouts(given.get("timeout"))
    return Options(connect_s, read_s, _tls(given, environ), dict(given.get("headers") or {}), _query(given))


def _timeouts(timeout: float | tuple[float | None, float | None] | None) -> tuple[float, float]:
    connect_s, read_s = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    chosen = (CONNECT_TIMEOUT_S if connect_s is None else connect_s, READ_TIMEOUT_S if read_s is None else read_s)
    if min(chosen) <= 0:
        raise ValueError("a timeout is more than 0 seconds")
    return chosen


def _tls(given: HttpOptions, environ: Mapping[str, str]) -> Tls:
    verify = given.get("verify")
    cert = given.get("cert")
    pair = (cert, None) if isinstance(cert, str) else cert
    if verify is False:
        return Tls("", pair)
    if isinstance(verify, str):
        return Tls(verify, pair)
    named = next((environ[name] for name in CA_VARIABLES if environ.get(name)), None)
    return Tls(named, pair)


def _query(given: HttpOptions) -> str:
    """None is left out, true and false are written as JSON has them."""
    params = {key: value for key, value in (given.get("params") or {}).items() if value is not None}
    written = {key: str(value).lower() if isinstance(value, bool) else value for key, value in params.items()}
    return urlencode(cast("Mapping[str, str]", written), doseq=True)
