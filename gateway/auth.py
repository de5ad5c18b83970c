"""Credentials of every face: the service token, users' tokens, JWTs (keys from the configuration or a JWKS URL), none.

A credential that fails is refused. It never counts as none: else a typing mistake, or a token that expired, would get
the rights of an anonymous caller where the caller believes to be someone.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from broker.accounts import Accounts
from broker.errors import Expired, Unauthorized
from broker.rights import Principal
from gateway.bearers import Bearer, Bearers, looks_like_user_token
from gateway.config import Config
from gateway.entitlement import Entitlement, Subjects
from gateway.jwks import KeySet
from gateway.keys import OWN_KID, VerificationKey
from gateway.origins import Origins
from gateway.tokens import TokenRules, kid_of, looks_like_jwt, own_key, verified_claims, verify

T = TypeVar("T")

SERVICE = Principal("@service", operator=True)
"""Who presents the service token."""

ANONYMOUS_NAME = "@anonymous"


class Authenticator:
    """Reads credentials by the configuration. `now_ms` is the wall clock, Unix milliseconds.

    Without `accounts` there are no users.
    """

    def __init__(
        self,
        config: Config,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        accounts: Accounts | None = None,
    ) -> None:
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._bearers = Bearers(accounts, monotonic=monotonic) if accounts else None
        self._set: KeySet | None = None
        self._jwks_url = ""
        self._entitlement = Entitlement(config.migratorydata)
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Judge credentials and origins by `config` from now on; connections that stand keep their rights."""
        auth = config.auth
        self._service = _hash(config.service_token.value) if config.service_token else None
        self._keys = {key.kid: key for key in auth.keys}
        self._only_key = auth.keys[0] if len(auth.keys) == 1 else None
        if config.secret_key:
            own = own_key(config.secret_key)
            self._keys[own.kid] = own
        self._old_key = own_key(config.secret_key_old) if config.secret_key_old else None
        if auth.jwks_url != self._jwks_url:
            # The same URL keeps the keys that were fetched.
            self._jwks_url = auth.jwks_url
            self._set = KeySet(auth.jwks_url, monotonic=self._monotonic) if auth.jwks_url else None
        self._rules = token_rules(config)
        self._origins = Origins(config.allowed_origins, loopback=config.is_embedded)
        anonymous = Principal(ANONYMOUS_NAME, publish=auth.anonymous_publish, subscribe=auth.anonymous_subscribe)
        self._anonymous = self._entitlement.anonymous(anonymous)

    @property
    def anonymous(self) -> Principal:
        """The rights of a caller without a credential: none by default."""
        return self._anonymous

    def known(self, token: str) -> Principal | None:
        """Return the principal at once where no fetch is needed, None where `authenticate` must be awaited.

        Raises `Unauthorized`.
        """
        if self._is_service_token(token):
            return SERVICE
        entitled = self._entitlement.known(token)
        if entitled is not None:
            return entitled
        if self._bearers is not None and looks_like_user_token(token):
            return self._bearers.known(token)
        if self._entitlement.asks:
            return None
        kid = self._kid(token)
        key = self._configured(kid)
        if key is None:
            if self._set is None or not kid:
                raise _unknown_key()
            key = self._set.known(kid)
        return None if key is None else self._verify(token, key)

    async def authenticate(self, token: str) -> Principal:
        """Return the principal of `token`, or raise `Unauthorized` with a reason that holds nothing of the token.

        Raises `Unavailable` where the records of users, or the JWK set that should have its key, cannot be had.
        """
        principal = self.known(token)
        if principal is not None:
            return principal
        if self._bearers is not None and looks_like_user_token(token):
            return await self._bearers.find(token)
        if self._entitlement.asks:
            return await self._entitlement.judge(token)
        kid = self._kid(token)
        key = await self._set.find(kid) if self._set and kid else None
        if key is None:
            raise _unknown_key()
        return self._verify(token, key)

    async def claims(self, token: str, *, issuer: str = "", audience: tuple[str, ...] = ()) -> Mapping[str, object]:
        """Return what a JWT says that is signed with a key of this node, or raise as `authenticate`.

        An empty `issuer` or `audience` is the configuration's. No other token is a JWT: who presents the service token
        is no user of an application.
        """
        own = self._rules
        rules = replace(own, issuer=issuer or own.issuer, audience=audience or own.audience)
        kid = self._kid(token)
        key = self._configured(kid)
        if key is None and self._set is not None and kid:
            key = await self._set.find(kid)
        if key is None:
            raise _unknown_key()
        return self._with_either_key(lambda key: verified_claims(token, key, rules, now_ms=self._now_ms()), key)

    async def read_again(self, token: str) -> Principal:
        """Return the principal of a user's token as it is now. Raises `Unauthorized`, `Unavailable`."""
        return await (self._bearers.find(token) if self._bearers is not None else self.authenticate(token))

    def watch(self, bearer: Bearer, principal: Principal) -> None:
        """Tell a connection when its caller's rights change, if it is a user; `unwatch` it with its last principal."""
        if self._bearers is not None:
            self._bearers.watch(bearer, principal)

    def unwatch(self, bearer: Bearer, principal: Principal) -> None:
        if self._bearers is not None:
            self._bearers.unwatch(bearer, principal)

    async def run(self) -> None:
        """Look after connected users until cancelled."""
        if self._bearers is not None:
            await self._bearers.run()

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        """Tell whether a browser page of `origin` may use this node; no Origin header is not a browser: allowed."""
        return self._origins.allow(origin, host)

    def _is_service_token(self, token: str) -> bool:
        # Hashes have one length, so that the comparison tells nothing of the token's.
        return self._service is not None and hmac.compare_digest(self._service, _hash(token))

    def _kid(self, token: str) -> str | None:
        if not looks_like_jwt(token):
            raise Unauthorized("The token is not known.")
        return kid_of(token)

    def _configured(self, kid: str | None) -> VerificationKey | None:
        """A token without `kid` goes with the configuration's only key."""
        return self._keys.get(kid) if kid is not None else self._only_key

    def _verify(self, token: str, key: VerificationKey) -> Principal:
        return self._with_either_key(lambda key: verify(token, key, self._rules, now_ms=self._now_ms()), key)

    def _with_either_key(self, read: Callable[[VerificationKey], T], key: VerificationKey) -> T:
        """Return what `read` makes of a token with `key`, or with the one before where that is the node's own."""
        try:
            return read(key)
        except Expired:
            raise
        except Unauthorized:
            if self._old_key is None or key.kid != OWN_KID:
                raise
            return read(self._old_key)


def token_rules(config: Config) -> TokenRules:
    """What the configuration asks of a JWT."""
    auth = config.auth
    return TokenRules(
        issuer=auth.issuer,
        audience=auth.audience,
        require_expiry=auth.require_expiry,
        subjects=Subjects(config.migratorydata.project),
    )


def _unknown_key() -> Unauthorized:
    return Unauthorized("The token is signed with a key that this node does not know.")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
