"""What an authorizer's answer says: let in with a context, or not. Pure.

    {"principalId": "ada", "policyDocument": {...}, "context": {"room": "blue"}, "usageIdentifierKey": "..."}

contracts/apigateway 6 and 10: a policy that does not allow, or no principal, is 403; an answer that is not understood
is the authorizer's failure, 500.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from gateway.apigateway.application.mapping import Sources, values_of
from gateway.apigateway.application.policies import INVOKE, read_policy
from gateway.apigateway.ports import Scalar

MAX_ANSWER_BYTES = 8192
"""Of an authorizer's answer, as at AWS."""

UNAUTHORIZED = "Unauthorized"
"""What an authorizer raises, or names in `errorMessage`, for a 401."""


class BadAnswer(ValueError):
    """The answer is none that an authorizer may give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A connection may open. `context` is what later events show of it, besides the principal."""

    principal_id: str
    context: Mapping[str, Scalar] = field(default_factory=dict)
    usage_key: str | None = None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not, for the handshake's answer."""

    status: int


def read_grant(answer: object, *, method_arn: str) -> Grant | Refused:
    """Read the answer of a request authorizer. Raises `BadAnswer`."""
    if not isinstance(answer, Mapping):
        raise BadAnswer("the answer is no object")
    if answer.get("errorMessage") == UNAUTHORIZED:
        return Refused(401)
    _check_size(answer)
    principal = answer.get("principalId")
    if not isinstance(principal, str | int) or isinstance(principal, bool) or principal == "":
        return Refused(403)
    try:
        policy = read_policy(answer.get("policyDocument"))
    except ValueError as error:
        raise BadAnswer(str(error)) from None
    if not policy.allows(INVOKE, method_arn):
        return Refused(403)
    key = answer.get("usageIdentifierKey")
    if key is not None and not isinstance(key, str):
        raise BadAnswer("usageIdentifierKey is no text")
    return Grant(principal_id=str(principal), context=_context(answer.get("context")), usage_key=key)


def _check_size(answer: Mapping[object, object]) -> None:
    try:
        size = len(orjson.dumps(answer))
    except orjson.JSONEncodeError:
        raise BadAnswer("the answer is not JSON") from None
    if size > MAX_ANSWER_BYTES:
        raise BadAnswer(f"the answer has more than {MAX_ANSWER_BYTES} bytes")


def _context(given: object) -> dict[str, Scalar]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise BadAnswer("the context is no object")
    found: dict[str, Scalar] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float | bool):
            raise BadAnswer("the context holds something else than texts, numbers and booleans")
        found[name] = value
    return found


def grant_of_claims(claims: Mapping[str, object]) -> Grant:
    """Return what a verified token grants: its claims, lists of texts joined by spaces; other values are left out."""
    context: dict[str, Scalar] = {}
    for name, value in claims.items():
        if isinstance(value, str | int | float | bool):
            context[name] = value
        elif isinstance(value, list) and all(isinstance(part, str) for part in value):
            context[name] = " ".join(value)
    expires = claims.get("exp")
    expires_ms = int(expires * 1000) if isinstance(expires, int | float) else None
    return Grant(principal_id=str(claims["sub"]), context=context, expires_ms=expires_ms)


def has_all(identity_sources: Sequence[str], sources: Sources) -> bool:
    """Tell whether a handshake brings everything that the authorizer wants to see."""
    return all(any(values_of(source, sources)) for source in identity_sources)


def first_token(identity_sources: Sequence[str], sources: Sources) -> str | None:
    """Return the first token among the sources, without its `Bearer`."""
    for source in identity_sources:
        for value in values_of(source, sources):
            scheme, _, rest = value.strip().partition(" ")
            token = rest.strip() if scheme.lower() == "bearer" else value.strip()
            if token:
                return token
    return None
