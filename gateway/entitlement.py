"""MigratoryData's entitlement: whose token may publish to which subjects, and follow them (docs/migratorydata.md).

A subject `/a/b/c` is the topic `a/b/c`, or `p/a/b/c` where the configuration puts all subjects into project `p`
(DESIGN 2). Rights are those of every face: a token that is entitled here is entitled there.
"""
# ruff: noqa: RUF009 - `option` makes a dataclass field, as `field` does; it is no default value.

import asyncio
import hmac
import importlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from hashlib import sha256

from broker.errors import HeadraceError, InvalidRequest, Unauthorized, Unavailable
from broker.rights import Principal, check_patterns
from gateway.options import Secret, option
from gateway.threads import DaemonThreads, outcome_of

HOOK_SECONDS = 1.5
"""For the operator's function to judge one token. Clients wait 2 s for a handshake, all told: later is too late."""

HOOK_THREADS = 8
MAX_ASKED = 1000
"""Tokens that wait to be judged; above it callers are told to come back."""

RETRY_MS = 1000

log = logging.getLogger(__name__)

Hook = Callable[[str], object]


class Mode(StrEnum):
    JWT = "jwt"
    """A JWT with `permissions`, or any other credential of this node."""
    NONE = "none"
    """Everybody may publish to and follow every subject, without a token."""
    BASIC = "basic"
    """One token may, `entitlement_allow_token`."""
    CUSTOM = "custom"
    """A function of the operator's judges each token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratoryData:
    """What clients of the kind of MigratoryData's are held to."""

    project: str = option("", "The project that all subjects lie in; empty: a subject's first segment names it.")
    entitlement: Mode = option(Mode.JWT, "Who may use subjects: jwt, none (everybody), basic (one token), custom.")
    entitlement_allow_token: Secret | None = option(None, "The token of entitlement `basic`.")
    entitlement_hook: str = option(
        "", "The function of entitlement `custom`, module:function: a token in, {pub, sub, all} out, None refuses."
    )


@dataclass(frozen=True, slots=True)
class Subjects:
    """Where subjects lie among topics."""

    project: str = ""

    @property
    def all(self) -> str:
        """The pattern of every subject."""
        return f"{self.project}/*" if self.project else "*"

    def pattern(self, pattern: str) -> str:
        """Return a pattern over topics: of subjects where it begins with a slash, else it is one already."""
        if not pattern.startswith("/"):
            return pattern
        return f"{self.project}{pattern}" if self.project else pattern.removeprefix("/")

    def permissions(self, given: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Read `{pub, sub, all}` as patterns to publish and to follow. Raises `InvalidRequest`, `InvalidName`."""
        if not isinstance(given, Mapping):
            raise InvalidRequest("A token's permissions are an object {pub, sub}.")
        both = self._patterns(given.get("all", []))
        publish, subscribe = self._patterns(given.get("pub", [])), self._patterns(given.get("sub", []))
        return check_patterns(publish + both), check_patterns(subscribe + both)

    def _patterns(self, patterns: object) -> list[str]:
        if not isinstance(patterns, list | tuple) or not all(isinstance(pattern, str) for pattern in patterns):
            raise InvalidRequest("A token's permissions are lists of patterns.")
        return [self.pattern(pattern) for pattern in patterns]


BY_THEIR_NAME = Subjects()
"""Where subjects lie unless the configuration says otherwise."""


class Entitlement:
    """Judges tokens by the configured mode."""

    def __init__(self, chosen: MigratoryData) -> None:
        self.subjects = Subjects(chosen.project)
        self._mode = chosen.entitlement
        allowed = chosen.entitlement_allow_token if self._mode is Mode.BASIC else None
        self._allowed = _hash(allowed.value) if allowed else None
        self._hook = load_hook(chosen.entitlement_hook) if self._mode is Mode.CUSTOM else None
        self._threads = DaemonThreads(HOOK_THREADS, name="entitlement")
        self._asked = 0
        self._lock = threading.Lock()

    @property
    def asks(self) -> bool:
        """Whether a token must be judged by the operator's function."""
        return self._hook is not None

    def anonymous(self, principal: Principal) -> Principal:
        """Return what a caller without a token may do, who may do as much as `principal` in any case."""
        if self._mode is not Mode.NONE:
            return principal
        every = (self.subjects.all,)
        return Principal(principal.name, publish=principal.publish + every, subscribe=principal.subscribe + every)

    def known(self, token: str) -> Principal | None:
        """Return whose the token of mode `basic` is, None for any other."""
        if self._allowed is None or not hmac.compare_digest(self._allowed, _hash(token)):
            return None
        every = (self.subjects.all,)
        return Principal("@entitled", publish=every, subscribe=every)

    async def judge(self, token: str) -> Principal:
        """Have the operator's function judge a token. Raises `Unauthorized`, `Unavailable`."""
        assert self._hook is not None
        self._enter()
        running = self._threads.submit(partial(outcome_of, self._hook, token))
        # When the thread is done with it, not when its time is over: until then it holds a thread.
        running.add_done_callback(lambda _: self._leave())
        try:
            async with asyncio.timeout(HOOK_SECONDS):
                verdict, error = await asyncio.wrap_future(running)
        except TimeoutError:
            raise Unavailable("The token was not judged in time.", retry_ms=RETRY_MS) from None
        if error is not None:
            # Its words may hold the token.
            log.warning("the entitlement hook failed", extra={"error": type(error).__name__})
            raise Unavailable("The token could not be judged.", retry_ms=RETRY_MS)
        return self._read(verdict, token)

    def _enter(self) -> None:
        with self._lock:
            if self._asked >= MAX_ASKED:
                raise Unavailable("Too many tokens wait to be judged.", retry_ms=RETRY_MS)
            self._asked += 1

    def _leave(self) -> None:
        with self._lock:
            self._asked -= 1

    def _read(self, verdict: object, token: str) -> Principal:
        if verdict is None:
            raise Unauthorized("The token is not entitled.")
        try:
            publish, subscribe = self.subjects.permissions(verdict)
            name, expires_ms = _name_and_expiry(verdict, token)
        except HeadraceError as error:
            log.warning("the entitlement hook answered with what is no entitlement", extra={"reason": error.reason})
            raise Unavailable("The token could not be judged.", retry_ms=RETRY_MS) from None
        return Principal(name, publish=publish, subscribe=subscribe, expires_ms=expires_ms)


def nameless(token: str) -> str:
    """Return a name for a token that has none: it scopes what the token's bearer repeats, and tells nothing of it."""
    return f"@token-{_hash(token).hex()[:16]}"


def load_hook(name: str) -> Hook:
    """Return the function `module:function`. Raises `ValueError` with a sentence."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise ValueError("must be module:function")
    try:
        found: object = getattr(importlib.import_module(module), function)
    except ImportError:
        raise ValueError(f"there is no module {module}") from None
    except AttributeError:
        raise ValueError(f"the module {module} has no {function}") from None
    if not callable(found):
        raise ValueError(f"{name} is no function")
    return found


def _name_and_expiry(verdict: object, token: str) -> tuple[str, int | None]:
    assert isinstance(verdict, Mapping)
    name, expires_ms = verdict.get("name"), verdict.get("expires_ms")
    if name is not None and (not isinstance(name, str) or not name.isprintable() or not 1 <= len(name) <= 64):
        raise InvalidRequest("A name is a text of 1 to 64 characters.")
    if expires_ms is not None and (type(expires_ms) is not int or expires_ms < 0):
        raise InvalidRequest("A time is Unix milliseconds.")
    return (f"@entitled:{name}" if name else nameless(token)), expires_ms


def _hash(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()
