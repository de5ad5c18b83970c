"""What must hold between options, and of a value beyond its type: a list of sentences, empty when all is well."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from broker.errors import HeadraceError
from broker.names import parse_project
from broker.rights import check_patterns
from gateway.admission import MAX_WAIT_SECONDS
from gateway.entitlement import Mode, load_hook
from gateway.origins import LOOPBACK_HOSTS, parse_origin
from gateway.outgoing import read_networks

if TYPE_CHECKING:
    from gateway.config import Config

MIN_SERVICE_TOKEN_CHARS = 16
MIN_SECRET_KEY_CHARS = 32
"""128 bits in hexadecimal digits."""

REDIS_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

Finding = tuple[str, str]
"""An option's key, and what is wrong with its value."""


def contradictions(config: "Config") -> Iterator[Finding]:
    """Yield everything that does not hold. No sentence quotes a secret."""
    for check in (
        _secrets,
        _redis,
        _names,
        _tls,
        _origins,
        _anonymous,
        _jwks,
        _push,
        _apigateway,
        _channel,
        _x509,
        _sizes,
        _absence,
        _entitlement,
    ):
        yield from check(config)


def _secrets(config: "Config") -> Iterator[Finding]:
    rules = (
        ("service_token", config.service_token, MIN_SERVICE_TOKEN_CHARS),
        ("secret_key", config.secret_key, MIN_SECRET_KEY_CHARS),
        ("secret_key_old", config.secret_key_old, MIN_SECRET_KEY_CHARS),
    )
    for key, secret, least in rules:
        if secret is None:
            if config.redis is not None and key != "secret_key_old":
                yield key, f"is needed together with redis: set HEADRACE_{key.upper()}, the same on every node"
        elif len(secret.value) < least:
            yield key, f"must have at least {least} characters"
        elif not re.fullmatch(r"[!-~]+", secret.value):
            yield key, "must be printable ASCII without spaces: it travels in headers"


def _entitlement(config: "Config") -> Iterator[Finding]:
    chosen = config.migratorydata
    allowed = chosen.entitlement_allow_token
    if chosen.project:
        try:
            parse_project(chosen.project)
        except HeadraceError as error:
            yield "migratorydata.project", f"is no project's name: {error.reason}"
    if chosen.entitlement is Mode.BASIC and not allowed:
        yield "migratorydata.entitlement_allow_token", "is needed with entitlement = basic"
    if chosen.entitlement is Mode.CUSTOM:
        try:
            load_hook(chosen.entitlement_hook)
        except ValueError as error:
            yield "migratorydata.entitlement_hook", str(error)


def _redis(config: "Config") -> Iterator[Finding]:
    if config.redis is None:
        return
    url = _split(config.redis.value)
    if url is None or url.scheme not in REDIS_SCHEMES or not url.netloc:
        yield "redis", f"must be a URL with a host, its scheme one of {', '.join(REDIS_SCHEMES)}"


def _names(config: "Config") -> Iterator[Finding]:
    if not config.host:
        yield "host", "must not be empty (0.0.0.0 listens on all addresses)"
    if not config.data:
        yield "data", "must not be empty"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", config.prefix):
        yield "prefix", "must be 1 to 32 letters, digits, '_', '.' or '-'"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", config.name):
        yield "name", "must be at most 64 letters, digits, '_', '.' or '-'"
    if config.advertise:
        url = _split(config.advertise)
        if (
            url is None
            or url.scheme not in ("http", "https")
            or not url.hostname
            or url.path.strip("/")
            or url.query
            or url.fragment
            or "@" in url.netloc
        ):
            yield "advertise", "must be http://host:port or https://host:port, nothing behind it"


def _tls(config: "Config") -> Iterator[Finding]:
    if bool(config.tls_cert) is not bool(config.tls_key):
        missing = "tls_key" if config.tls_cert else "tls_cert"
        yield missing, "is needed too: a certificate and its key go together"


def _origins(config: "Config") -> Iterator[Finding]:
    for origin in config.allowed_origins:
        try:
            parse_origin(origin)
        except ValueError as error:
            yield "allowed_origins", f"{error}, with no path and no wildcard; {origin[:80]!a} is not"


def _anonymous(config: "Config") -> Iterator[Finding]:
    for key in ("anonymous_publish", "anonymous_subscribe"):
        try:
            check_patterns(getattr(config.auth, key))
        except HeadraceError as error:
            yield f"auth.{key}", error.reason


def _jwks(config: "Config") -> Iterator[Finding]:
    if not config.auth.jwks_url:
        return
    url = _split(config.auth.jwks_url)
    if url is None or url.scheme not in ("http", "https") or not url.hostname:
        yield "auth.jwks_url", "must be an https:// URL"
    elif "@" in url.netloc:
        yield "auth.jwks_url", "must not hold a user or a password"
    elif url.scheme == "http" and not config.auth.jwks_plain_http and not _is_loopback(url.hostname):
        yield (
            "auth.jwks_url",
            "must be https: (auth.jwks_plain_http allows http, and whoever is on the way to forge keys)",
        )


def _push(config: "Config") -> Iterator[Finding]:
    try:
        read_networks(config.push.allowed_networks)
    except ValueError as error:
        yield "push.allowed_networks", f"must be networks such as 10.1.0.0/16: {error}"
    if not all(port.isascii() and port.isdecimal() and 0 < int(port) < 65_536 for port in config.push.ports):
        yield "push.ports", "must be port numbers"


def _apigateway(config: "Config") -> Iterator[Finding]:
    section = config.apigateway
    if section.credentials or section.open:
        return
    for api in section.apis:
        if api.authorizer is not None and api.authorizer.type == "iam":
            wanted = "add one to [[apigateway.credentials]]"
            yield "apigateway.apis", f"the authorizer of {api.name} asks for an access key, and there is none: {wanted}"


def _channel(config: "Config") -> Iterator[Finding]:
    url = config.channel.presence_url
    if not url:
        return
    if _scheme(url) not in ("http", "https"):
        yield "channel.presence_url", "must be the application's URL, such as https://app.example.com"
    elif _scheme(url) == "http" and not config.push.plain_http:
        yield "channel.presence_url", "is not https: set push.plain_http to post presence in the open"


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.scheme if parts.hostname else ""


def _x509(config: "Config") -> Iterator[Finding]:
    if not config.x509.port:
        return
    if not config.tls_cert:
        yield "x509.port", "needs tls_cert and tls_key"
    for key in ("authorities", "bindings"):
        if not getattr(config.x509, key):
            yield f"x509.{key}", "is needed together with x509.port"


def _sizes(config: "Config") -> Iterator[Finding]:
    limits = config.limits
    if limits.frame_bytes < limits.message_bytes:
        yield "limits.frame_bytes", "must not be smaller than limits.message_bytes"
    if limits.waiting_publishes_per_topic > limits.waiting_publishes:
        yield "limits.waiting_publishes_per_topic", "must not exceed limits.waiting_publishes"
    if limits.waiting_publish_bytes_per_topic > limits.waiting_publish_bytes:
        yield "limits.waiting_publish_bytes_per_topic", "must not exceed limits.waiting_publish_bytes"


def _absence(config: "Config") -> Iterator[Finding]:
    """A client that loses its node must find what it missed: twice the longest time that it may be away is kept.

    Contracts/migratorydata 3.2.5. The node knows its own side: when it notices, and what it tells clients to wait.
    """
    away = config.limits.ping_seconds + config.limits.pong_seconds + MAX_WAIT_SECONDS
    if config.retention.max_age_seconds < 2 * away:
        yield "retention.max_age_seconds", f"must be at least {2 * away:g}: clients may be away for {away:g} s"


def _is_loopback(host: str) -> bool:
    return host in LOOPBACK_HOSTS or f"[{host}]" in LOOPBACK_HOSTS


def _split(text: str) -> SplitResult | None:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        # Also of a port that is no number. Of redis+cluster:// with several hosts the port is not one.
        return urlsplit(text) if "," in text and "[" not in text else None
    return url
