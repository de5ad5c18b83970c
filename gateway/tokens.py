"""JWTs: from a token to a principal, and back for `headrace token`.

A refusal says which rule was broken and holds nothing of the token. The clock is passed in. Headers that point to keys
(`jku`, `x5u`, `jwk`) are not looked at; `kid` only chooses among keys that the node has.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jwt
from jwt.exceptions import (
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidTokenError,
    MissingRequiredClaimError,
    PyJWTError,
)
from jwt.types import Options

from broker.errors import Expired, HeadraceError, InvalidRequest, Unauthorized
from broker.rights import Principal, check_patterns
from gateway.entitlement import BY_THEIR_NAME, Subjects, nameless
from gateway.keys import OWN_KID, Algorithm, VerificationKey
from gateway.options import Secret

MAX_TOKEN_CHARS = 8192
"""A longer token is refused unread."""

MAX_SUBJECT_BYTES = 255
"""Of `sub`: it scopes idempotency records and stands in log lines."""

MAX_LIFETIME_SECONDS = 10 * 365 * 24 * 3600
MAX_TIME_SECONDS = 2**53 // 1000

NOT_BEFORE_LEEWAY_SECONDS = 30
"""How far the issuer's clock may be ahead for `nbf`. `exp` has no leeway: it closes connections."""

RESERVED = "@"
"""The node's own principals begin with it, so that no issuer can name one of them."""

_OWN_KEY_LABEL = b"headrace JWT HS256 v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """What a JWT must say beside being signed. An empty `issuer` or `audience` asks for none."""

    issuer: str = ""
    audience: tuple[str, ...] = ()
    require_expiry: bool = True
    subjects: Subjects = BY_THEIR_NAME
    """Where permissions that name subjects lie."""


def own_key(secret_key: Secret) -> VerificationKey:
    """Return the key of the node's own tokens: HMAC-SHA256 of a label under the secret key, `kid` "headrace".

    Derived, so that the secret key itself is never used for two purposes; equal on all nodes that share the secret.
    """
    material = hmac.digest(secret_key.value.encode(), _OWN_KEY_LABEL, hashlib.sha256)
    return VerificationKey(OWN_KID, Algorithm.HS256, material)


def looks_like_jwt(token: str) -> bool:
    return token.count(".") == 2 and len(token) <= MAX_TOKEN_CHARS


def kid_of(token: str) -> str | None:
    """Return the key ID that a token names, not yet verified, or raise `Unauthorized`."""
    try:
        header = jwt.get_unverified_header(token)
    except (PyJWTError, ValueError, RecursionError):
        raise _malformed() from None
    if "crit" in header:
        # No extension is understood here, and RFC 7515 (4.1.11) wants such a token refused.
        raise Unauthorized("The token has critical headers, which are not supported.")
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise _malformed()
    return kid


def verify(token: str, key: VerificationKey, rules: TokenRules, *, now_ms: int) -> Principal:
    """Return the principal that a token speaks for, or raise `Unauthorized`."""
    claims = _signed_claims(token, key, rules)
    expires_ms = _check_times(claims, rules, now_ms)
    try:
        # MigratoryData's tokens name nobody.
        subject = _checked_subject(claims["sub"]) if "sub" in claims else nameless(token)
        publish, subscribe = rules.subjects.permissions(claims.get("permissions", {}))
    except HeadraceError as error:
        # A name's refusal quotes the name, which came out of the token.
        raise Unauthorized(_sentence_for(error)) from None
    return Principal(subject, publish=publish, subscribe=subscribe, expires_ms=expires_ms)


def verified_claims(token: str, key: VerificationKey, rules: TokenRules, *, now_ms: int) -> Mapping[str, object]:
    """Return all that a token says, its subject among it, or raise `Unauthorized`; permissions are not looked at."""
    claims = _signed_claims(token, key, rules)
    _check_times(claims, rules, now_ms)
    try:
        _checked_subject(claims.get("sub"))
    except InvalidRequest as error:
        raise Unauthorized(error.reason) from None
    return claims


def mint(
    secret_key: Secret,
    *,
    subject: str,
    publish: Sequence[str] = (),
    subscribe: Sequence[str] = (),
    lifetime_seconds: int,
    now_ms: int,
    rules: TokenRules = TokenRules(),
) -> str:
    """Return a token that every node with this secret key accepts. Raises `InvalidRequest`, `InvalidName`."""
    if not 1 <= lifetime_seconds <= MAX_LIFETIME_SECONDS:
        raise InvalidRequest(f"A token lives 1 to {MAX_LIFETIME_SECONDS} seconds.")
    claims: dict[str, object] = {
        "sub": _checked_subject(subject),
        "iat": now_ms // 1000,
        "exp": now_ms // 1000 + lifetime_seconds,
        "permissions": {"pub": list(check_patterns(publish)), "sub": list(check_patterns(subscribe))},
    }
    if rules.issuer:
        claims["iss"] = rules.issuer
    if rules.audience:
        claims["aud"] = rules.audience[0]
    key = own_key(secret_key)
    assert isinstance(key.material, bytes)
    return jwt.encode(claims, key.material, algorithm=key.algorithm.value, headers={"kid": key.kid})


def _signed_claims(token: str, key: VerificationKey, rules: TokenRules) -> dict[str, object]:
    options: Options = {
        "enforce_minimum_key_length": True,
        "verify_aud": bool(rules.audience),
        "verify_iss": bool(rules.issuer),
        # By our clock, in `_check_times`.
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
        "verify_sub": False,
        "verify_jti": False,
    }
    try:
        claims: dict[str, object] = jwt.decode(
            token,
            key.material,
            algorithms=[key.algorithm.value],
            options=options,
            audience=rules.audience or None,
            issuer=rules.issuer or None,
        )
    except InvalidAudienceError:
        raise Unauthorized("The token is for another audience.") from None
    except InvalidIssuerError:
        raise Unauthorized("The token is from another issuer.") from None
    except MissingRequiredClaimError:
        raise Unauthorized("The token lacks its issuer or its audience.") from None
    except (InvalidTokenError, PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthorized("The token's signature or form is not valid.") from None
    return claims


def _check_times(claims: dict[str, object], rules: TokenRules, now_ms: int) -> int | None:
    not_before, expires = claims.get("nbf"), claims.get("exp")
    if not_before is not None and _seconds(not_before) > now_ms / 1000 + NOT_BEFORE_LEEWAY_SECONDS:
        raise Unauthorized("The token is not valid yet.")
    if expires is None:
        if rules.require_expiry:
            raise Unauthorized("The token has no expiry.")
        return None
    expires_ms = int(_seconds(expires) * 1000)
    if now_ms >= expires_ms:
        raise Expired()
    return expires_ms


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthorized("A time in the token is not a number.")
    # Neither NaN nor an infinity is between the two; JSON as Python reads it has both.
    if not 0 <= value <= MAX_TIME_SECONDS:
        raise Unauthorized("A time in the token is out of range.")
    return value


def _checked_subject(subject: object) -> str:
    if not isinstance(subject, str) or not subject or not subject.isprintable():
        raise InvalidRequest("A token's subject (sub) is a text without control characters.")
    if len(subject.encode()) > MAX_SUBJECT_BYTES:
        raise InvalidRequest(f"A token's subject (sub) has at most {MAX_SUBJECT_BYTES} bytes.")
    if subject.startswith(RESERVED):
        raise InvalidRequest(f"A token's subject (sub) does not begin with {RESERVED}.")
    return subject


def _sentence_for(error: HeadraceError) -> str:
    if isinstance(error, InvalidRequest):
        return error.reason
    return "The token's permissions hold a pattern that is not valid."


def _malformed() -> Unauthorized:
    return Unauthorized("The token is not a JWT.")
