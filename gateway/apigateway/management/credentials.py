"""Who calls the management API, and what they may do there: access keys and their policies (contracts/apigateway 5).

A caller signs with an access key of the configuration; its policy is asked for `execute-api:ManageConnections` on the
ARN of the call. In open mode nothing is asked of anybody.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from gateway.apigateway.application.policies import ALL, Policy
from gateway.apigateway.configuration.definitions import Credential
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.apigateway.errors import ExpiredToken, MissingToken, UnknownKey
from gateway.apigateway.management import sigv4
from gateway.apigateway.management.sigv4 import SignedRequest

MAX_SIGNING_KEYS = 1024
"""Kept derived keys: one for each access key, day and region that was seen to sign. Deriving takes four digests."""


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Whoever has proven who they are; the same object each time."""

    access_key: str
    policy: Policy


EVERYONE = Caller("", ALL)
"""Any caller in open mode."""


class Credentials:
    """The access keys that a node knows."""

    def __init__(
        self, credentials: Sequence[Credential], *, is_open: bool = False, unsigned_body: bool = False
    ) -> None:
        """`unsigned_body`: callers need not sign what they post."""
        self._known = {each.access_key: each for each in credentials}
        self._callers = {each.access_key: Caller(each.access_key, each.policy) for each in credentials}
        self._is_open = is_open
        self._unsigned_body = unsigned_body
        self._key = lru_cache(maxsize=MAX_SIGNING_KEYS)(self._derived)

    @property
    def is_open(self) -> bool:
        """Nothing is asked of anybody."""
        return self._is_open

    def authenticate(self, request: SignedRequest, body: bytes, *, now_ms: int) -> Caller:
        """Return who signed this request. Raises a subclass of `Unauthorized` that names what is wrong."""
        if self._is_open:
            return EVERYONE
        signature = sigv4.read(request)
        if signature is None:
            raise MissingToken
        known = self._known.get(signature.access_key)
        if known is None or not _has_token(known, signature.token):
            raise UnknownKey
        sigv4.check_time(signature, now_ms=now_ms)
        key = self._key(signature.access_key, signature.day, signature.region)
        sigv4.check(signature, request, body, key, unsigned_body=self._unsigned_body)
        if known.expires is not None and now_ms >= known.expires.timestamp() * 1000:
            raise ExpiredToken
        return self._callers[known.access_key]

    def _derived(self, access_key: str, day: str, region: str) -> bytes:
        secret = self._known[access_key].secret
        return sigv4.signing_key(secret.value if secret else "", day=day, region=region)


def credentials_of(section: ApiGateway) -> Credentials:
    """Return the access keys of the configuration."""
    return Credentials(section.credentials, is_open=section.open, unsigned_body=section.unsigned_payload)


def _has_token(known: Credential, given: str | None) -> bool:
    """Tell whether the session token is the configured one; without one configured, none may come."""
    if known.session_token is None or given is None:
        return known.session_token is None and given is None
    return hmac.compare_digest(known.session_token.value.encode(), given.encode())
